"""Heads: training on features, evaluation, and the served model."""
