"""Engines: how a frozen model runs. A batch in, named float32 arrays out."""
