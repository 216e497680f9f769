"""Sounds: their formats, decoding, resampling and windows, and their part of a served model."""
