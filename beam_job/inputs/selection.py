"""Selects the input that can read what is at a path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_job.core.errors import InputError
from beam_job.core.values import Names
from beam_job.inputs.base import INPUTS_IN_WORDS, PLAIN_COLUMNS, Columns, Source
from beam_job.inputs.registry import INPUTS
from beam_job.runtime import storage

# What an option of Columns goes with.
_TAKERS = {
    "text_column": "a manifest, or Parquet or TFRecord files",
    "image_column": "a manifest, or Parquet or TFRecord files",
    "label_column": "a manifest, or Parquet or TFRecord files",
    "id_column": "a manifest, or Parquet or TFRecord files",
    "label_key": "tar files",
    "keep_columns": "a manifest, or Parquet, TFRecord or tar files",
    "root": "a manifest",
    "crops": "annotations of COCO",
}


def named_columns(options: Mapping[str, Any]) -> Columns:
    """What options, as they stand in run.json too, say of the parts of an example."""
    found: dict[str, Any] = {field.name: options.get(field.name) for field in dataclasses.fields(Columns)}
    if isinstance(found["keep_columns"], str):
        found["keep_columns"] = Names.parse(found["keep_columns"])
    return Columns(**{**found, "crops": found["crops"] or None})


def open_source(path: str, columns: Columns = PLAIN_COLUMNS) -> Source:
    """The input at a path.

    Args:
      path: The path.
      columns: What the parts of an example are called, where not as usual.

    Raises:
      InputError: there is nothing at the path that can be read, or it has no use for what is named in ``columns``.
    """
    path = storage.absolute(path)
    for source in INPUTS.latest_first():
        if source.matches(path):
            opened = source(path, columns) if source.has_columns else source(path)
            for name in columns.named():
                if name not in opened.takes:
                    raise InputError(f"--{name} goes with {_TAKERS[name]}, found --input={path}.")
            return opened
    raise InputError(f"Expected --input to be {INPUTS_IN_WORDS}; there is nothing at {path!r}.")
