"""The command line: one file per command."""

from beam_job.cli.main import main

__all__ = ["main"]
