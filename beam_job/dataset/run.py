"""run.json: how a dataset came to be. Written by the finaliser, read by everything that comes after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from beam_job.core import naming
from beam_job.core.errors import InputError
from beam_job.core.labels import LabelKind
from beam_job.core.naming import ShardName
from beam_job.outputs.base import RecordSchema, SplitFiles
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.outputs.selection import suffixes_of
from beam_job.runtime import storage

FORMAT_VERSION = 2


def run_json(content: Mapping[str, Any]) -> str:
    """The text of run.json; docs/output.md documents its fields."""
    return json.dumps({"format_version": FORMAT_VERSION, **content}, indent=2) + "\n"


def read_run(path: str) -> dict[str, Any]:
    """The ``run.json`` of a complete dataset.

    Raises:
      InputError: there is none, it is not complete, or another version of this package wrote it.
    """
    root = storage.absolute(path)
    if not storage.exists(storage.join(root, naming.SUCCESS)):
        raise InputError(f"There is no complete dataset at {path}: expected a file {naming.SUCCESS}, found none.")
    run: dict[str, Any] = json.loads(storage.read_bytes(storage.join(root, naming.RUN)))
    check_version(run, path)
    return run


def check_version(run: Mapping[str, Any], path: str) -> None:
    """Checks that this package knows the format of a dataset.

    Raises:
      InputError: it does not.
    """
    if run.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"Expected a dataset of format version {FORMAT_VERSION} at {path}, found {run.get('format_version')}; "
            f"extract it again with this version of beam_job."
        )


def read_labels(path: str) -> list[str]:
    """The names of a dataset's labels, in the order of their indices."""
    text = storage.read_bytes(storage.join(storage.absolute(path), naming.LABELS)).decode("utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def labels_txt(names: Sequence[str]) -> str:
    """``label.labels.txt``: a name per line; the index of a label is its line number from 0."""
    return "".join(f"{name}\n" for name in names)


def schema_of(run: Mapping[str, Any], labels: Sequence[str]) -> RecordSchema:
    """What the records of a dataset have in common."""
    return RecordSchema(
        features={name: tuple(shape) for name, shape in run["model"]["outputs"].items()},
        labels=labels,
        label_kind=LabelKind(run.get("label_type", LabelKind.CLASS.value)),
        kept=tuple(run.get("kept_columns", ())),
    )


def reader_files(run: Mapping[str, Any], labels: Sequence[str]) -> dict[str, str]:
    """Name to content of the files for other readers, as they follow from a run.json."""
    schema, made = schema_of(run, labels), {}
    source = f"Features by {run['model']['handle']}, extracted by beam_job."
    for shard_format in run["formats"]:
        (suffix,) = suffixes_of([shard_format])
        splits = {}
        for split in run["splits"]:
            shards = [shard for shard in run["shards"] if ShardName.parse(shard["shard"]).split == split]
            sizes = [shard["files"][f"{shard['shard']}{suffix}"]["bytes"] for shard in shards]
            splits[split] = SplitFiles([shard["records"] for shard in shards], sum(sizes))
        made.update(SHARD_FORMATS.get(shard_format).reader_files(source, schema, splits))
    return made
