"""Modalities: what an example is, from its bytes to what a model takes."""
