"""Shard formats: how records are written to files and read back."""
