"""Datasets as tests look at them: with TensorFlow's own parser, or file by file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_job.core import naming
from beam_job.core.naming import ShardName
from beam_job.runtime.framing import read_records

SUFFIX = ".tfrecord"
# The set of photographs that most tests read.
IMAGES_PER_CLASS = 84
SPLITS = "train=0.8,validation=0.1,test=0.1"
Record = dict[str, Any]


def shards_of(folder: Path) -> dict[str, bytes]:
    """The shard files of a dataset."""
    return {path.name: path.read_bytes() for path in folder.glob(f"*{SUFFIX}")}


def records_of(folder: Path) -> dict[str, Record]:
    """Id to feature, label (None where it is no class) and split of everything in a dataset."""
    found = {}
    for name, content in sorted(shards_of(folder).items()):
        for data in read_records(io.BytesIO(content)):
            fields = tf.train.Example.FromString(data).features.feature
            (example_id,) = fields["id"].bytes_list.value
            found[example_id.decode()] = {
                "feature": np.array(fields["feature"].float_list.value, np.float32),
                "label": fields["label"].int64_list.value[0] if "label" in fields else None,
                "split": ShardName.parse(name.removesuffix(SUFFIX)).split,
            }
    return found


def comparable_files(folder: Path) -> dict[str, Any]:
    """All files of a dataset, without the timings: the only thing in them that may differ between runs."""
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json" and path.is_file():
            content = json.loads(path.read_text())
            content.pop("timings", None)
            files[str(path.relative_to(folder))] = content
        elif path.is_file():
            files[str(path.relative_to(folder))] = path.read_bytes()
    return files


def error_rows_of(folder: Path) -> dict[str, dict[str, str]]:
    """Id to row of errors.jsonl."""
    rows = map(json.loads, (folder / naming.ERRORS).read_text().splitlines())
    return {row["id"]: row for row in rows}
