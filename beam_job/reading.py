"""Reading a dataset back for training."""

from __future__ import annotations

import json
from typing import Any

from beam_job import naming, storage
from beam_job.errors import InputError
from beam_job.options import nearest
from beam_job.tensorflow_runtime import import_tensorflow

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
    if split not in run["splits"]:
        found = ", ".join(run["splits"])
        raise InputError(
            f"The dataset at {path} has no split {split!r}{nearest(split, run['splits'])} (splits: {found})"
        )
    shapes = {name: tuple(shape) for name, shape in run["model"]["outputs"].items()}
    fields = {name: tf.io.FixedLenFeature(shape, tf.float32) for name, shape in shapes.items()}
    fields["label"] = tf.io.FixedLenFeature([], tf.int64)

    def parse(serialized: Any) -> Any:
        example = tf.io.parse_example(serialized, fields)
        label = example.pop("label")
        if len(shapes) == 1:
            return next(iter(example.values())), label
        return {name.partition("/")[2]: values for name, values in example.items()}, label

    shards = [shard for shard in run["shards"] if naming.ShardName.parse(shard["file"]).split == split]
    files = [storage.join(storage.absolute(path), shard["file"]) for shard in shards]
    records = sum(shard["records"] for shard in shards)
    raw = tf.data.TFRecordDataset(files, num_parallel_reads=None)
    # Parsing a batch at a time costs a fraction of parsing one by one.
    parsed = raw.batch(256).map(parse, num_parallel_calls=_READERS, deterministic=True).unbatch()
    return parsed.apply(tf.data.experimental.assert_cardinality(records)).prefetch(tf.data.AUTOTUNE)


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
