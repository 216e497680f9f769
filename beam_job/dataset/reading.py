"""Reading a dataset back for training."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core import naming
from beam_job.core.errors import InputError
from beam_job.core.options import nearest
from beam_job.core.records import Float32Array
from beam_job.core.sharding import is_sampled
from beam_job.outputs.tfrecord.examples import unpack_example
from beam_job.outputs.tfrecord.framing import read_records
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_tensorflow

_READERS = 4


def load_features(path: str, split: str = "train") -> Any:
    """A dataset's split as a ``tf.data.Dataset``, ready to batch.

    Args:
      path: The directory that ``extract`` wrote.
      split: Which split.

    Returns:
      A Dataset of (feature, label): float32 of the feature's shape, and int64, -1 for no label. When several features
      are stored, a dict of them by the layers' names takes the feature's place. Its cardinality is known. The order is
      always the same.

    Raises:
      InputError: there is no finished dataset at the path, or no such split in it.
    """
    tf = import_tensorflow()
    run = read_run(path)
    shards = _shards(run, split, path)
    shapes = {name: tuple(shape) for name, shape in run["model"]["outputs"].items()}
    fields = {name: tf.io.FixedLenFeature(shape, tf.float32) for name, shape in shapes.items()}
    fields["label"] = tf.io.FixedLenFeature([], tf.int64)

    def parse(serialized: Any) -> Any:
        example = tf.io.parse_example(serialized, fields)
        label = example.pop("label")
        if len(shapes) == 1:
            return next(iter(example.values())), label
        return {name.partition("/")[2]: values for name, values in example.items()}, label

    files = [storage.join(storage.absolute(path), shard["file"]) for shard in shards]
    records = sum(shard["records"] for shard in shards)
    raw = tf.data.TFRecordDataset(files, num_parallel_reads=None)
    # Parsing a batch at a time costs a fraction of parsing one by one.
    parsed = raw.batch(256).map(parse, num_parallel_calls=_READERS, deterministic=True).unbatch()
    return parsed.apply(tf.data.experimental.assert_cardinality(records)).prefetch(tf.data.AUTOTUNE)


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Features in memory, a row for each image.

    Attributes:
      ids: The images' ids, in the dataset's order.
      features: float32 [N, D], whatever the shape of one was.
      labels: int64 [N], -1 for none.
    """

    ids: Sequence[str]
    features: Float32Array
    labels: npt.NDArray[np.int64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> FeatureTable:
        """The rows that ``chosen``, bool [N], marks."""
        ids = [image_id for image_id, is_chosen in zip(self.ids, chosen, strict=True) if is_chosen]
        return FeatureTable(ids, self.features[chosen], self.labels[chosen])


def read_table(path: str, split: str, feature: str | None = None, share: float = 1.0) -> FeatureTable:
    """A dataset's split in memory, or a part of it, without TensorFlow.

    Args:
      path: The directory that ``extract`` wrote.
      split: Which split.
      feature: Which of several stored features, by its layer's name; may be left out when there is one.
      share: Which part of the images is kept, from 0 to 1, chosen by a stable hash of their ids.

    Raises:
      InputError: there is no finished dataset, no such split, or no such feature.
    """
    run = read_run(path)
    name = feature_field(run, feature, path)
    ids, rows, labels = [], [], []
    for shard in _shards(run, split, path):
        content = storage.read_bytes(storage.join(storage.absolute(path), shard["file"]))
        for record in map(unpack_example, read_records(io.BytesIO(content))):
            if not is_sampled(record.id, share):
                continue
            ids.append(record.id)
            rows.append(record.features[name].reshape(-1))
            labels.append(record.label)
    size = int(np.prod(run["model"]["outputs"][name]))
    features = np.stack(rows) if rows else np.zeros((0, size), np.float32)
    return FeatureTable(ids, features, np.array(labels, np.int64))


def read_labels(path: str) -> list[str]:
    """The names of a dataset's labels, in the order of their indices."""
    text = storage.read_bytes(storage.join(storage.absolute(path), naming.LABELS)).decode("utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def feature_field(run: dict[str, Any], feature: str | None, path: str) -> str:
    """The field of a stored feature by its layer's name, or the only one.

    Raises:
      InputError: there is no such feature, or there are several and none is chosen.
    """
    names: dict[str, str] = {name.partition("/")[2] or name: name for name in run["model"]["outputs"]}
    if feature is None and len(names) == 1:
        return next(iter(names.values()))
    if feature not in names:
        found = f"no feature {feature!r}" if feature else "several features"
        raise InputError(f"The dataset at {path} has {found}; choose one with --feature: {', '.join(names)}.")
    return names[feature]


def _shards(run: dict[str, Any], split: str, path: str) -> list[dict[str, Any]]:
    """The shards of a split, as run.json has them.

    Raises:
      InputError: there is no such split.
    """
    if split not in run["splits"]:
        found = ", ".join(run["splits"])
        raise InputError(
            f"The dataset at {path} has no split {split!r}{nearest(split, run['splits'])} (splits: {found})"
        )
    return [shard for shard in run["shards"] if naming.ShardName.parse(shard["file"]).split == split]


def read_run(path: str) -> dict[str, Any]:
    """The ``run.json`` of a finished dataset.

    Raises:
      InputError: there is none, or it is not finished.
    """
    root = storage.absolute(path)
    if not storage.exists(storage.join(root, naming.SUCCESS)):
        raise InputError(f"There is no finished dataset at {path}: expected a file {naming.SUCCESS}, found none.")
    run: dict[str, Any] = json.loads(storage.read_bytes(storage.join(root, naming.RUN)))
    return run
