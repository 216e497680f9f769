"""Selects the input that can list what is at a path."""

from __future__ import annotations

from beam_job.core.errors import InputError
from beam_job.inputs.base import INPUTS_IN_WORDS, Source
from beam_job.inputs.registry import INPUTS
from beam_job.runtime import storage


def open_source(path: str) -> Source:
    """The input at a path.

    Raises:
      InputError: there is nothing at the path that can be listed.
    """
    path = storage.absolute(path)
    for source in INPUTS.latest_first():
        if source.matches(path):
            return source(path)
    raise InputError(f"Expected --input to be {INPUTS_IN_WORDS}; there is nothing at {path!r}.")
