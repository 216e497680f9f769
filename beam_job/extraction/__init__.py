"""The heart: planning, extraction, resumption, finalisation. Plain Python, without Beam."""
