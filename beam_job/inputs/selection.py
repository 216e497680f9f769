"""Selects the input that can list what is at a path."""

from __future__ import annotations

from beam_job.core.errors import InputError
from beam_job.inputs.base import INPUTS_IN_WORDS, Columns, Source
from beam_job.inputs.registry import INPUTS
from beam_job.runtime import storage


def open_source(path: str, text_column: str | None = None) -> Source:
    """The input at a path.

    Args:
      path: The path.
      text_column: The column of a table with the texts, where it is not called so.

    Raises:
      InputError: there is nothing at the path that can be listed, or it is no table and a column is named.
    """
    path = storage.absolute(path)
    for source in INPUTS.latest_first():
        if source.matches(path):
            if text_column is None:
                return source(path)
            if not source.has_columns:
                raise InputError(f"--text_column goes with a .csv or .jsonl manifest, found --input={path}.")
            return source(path, Columns(text_column))
    raise InputError(f"Expected --input to be {INPUTS_IN_WORDS}; there is nothing at {path!r}.")
