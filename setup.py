"""A shim for Dataflow's --setup_file; the metadata is in pyproject.toml."""

from setuptools import setup

setup()
