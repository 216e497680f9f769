"""Metadata files for other people's readers: TFDS and TFX."""
