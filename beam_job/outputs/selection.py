"""Selects the shard formats of a dataset, and knows the suffixes of their files."""

from __future__ import annotations

from collections.abc import Sequence

from beam_job.outputs.registry import SHARD_FORMATS


def chosen_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the chosen formats; the default one when none is chosen."""
    return tuple(names) or (next(iter(SHARD_FORMATS)),)


def suffixes_of(names: Sequence[str]) -> tuple[str, ...]:
    """The suffixes of formats."""
    return tuple(SHARD_FORMATS.get(name).suffix for name in names)


def all_suffixes() -> tuple[str, ...]:
    """The suffixes of all formats, whichever were chosen."""
    return suffixes_of(tuple(SHARD_FORMATS))
