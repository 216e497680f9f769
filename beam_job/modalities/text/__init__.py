"""Texts: their encoding, their limits, and their part of a served model."""
