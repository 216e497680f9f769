"""Reads a dataset: for training, and as a table in memory."""

from __future__ import annotations

import dataclasses
import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import InputError
from beam_job.core.labels import NO_LABEL, LabelKind, StoredLabel, indices_in
from beam_job.core.naming import ShardName
from beam_job.core.records import FeatureRecord, Float32Array
from beam_job.core.sharding import is_sampled
from beam_job.core.suggestions import did_you_mean
from beam_job.dataset.run import read_labels, read_run, schema_of
from beam_job.outputs.base import RecordSchema, ShardFormat
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_tensorflow


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Features in memory, one row per example.

    Attributes:
      ids: The examples' ids, in the dataset's order.
      features: float32 [N, D], each feature flattened; of one that differs in length, the mean of its frames.
      labels: Of classes, int64 [N], -1 for none; of lists, bool [N, C], whether an example has each class; of numbers,
        float32 [N], NaN for none.
      labelled: bool [N], whether the label is known.
    """

    ids: Sequence[str]
    features: Float32Array
    labels: npt.NDArray[Any]
    labelled: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, tables: Sequence[FeatureTable]) -> FeatureTable:
        """The rows of all tables, of which there is at least one."""
        return cls(
            [example_id for table in tables for example_id in table.ids],
            np.concatenate([table.features for table in tables]),
            np.concatenate([table.labels for table in tables]),
            np.concatenate([table.labelled for table in tables]),
        )

    def where(self, chosen: npt.NDArray[np.bool_]) -> FeatureTable:
        """The rows that ``chosen``, bool [N], selects."""
        ids = [example_id for example_id, is_chosen in zip(self.ids, chosen, strict=True) if is_chosen]
        return FeatureTable(ids, self.features[chosen], self.labels[chosen], self.labelled[chosen])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A complete dataset, open for reading.

    Attributes:
      path: Its directory, as the user gave it.
      run: Its run.json.
      labels: The names of its labels, in the order of their indices.
    """

    path: str
    run: Mapping[str, Any]
    labels: Sequence[str]

    @classmethod
    def open(cls, path: str) -> Dataset:
        """The dataset at ``path``.

        Raises:
          InputError: there is no complete dataset.
        """
        return cls(path, read_run(path), read_labels(path))

    @property
    def splits(self) -> Mapping[str, Mapping[str, Any]]:
        """Split name to its counts, as in run.json."""
        splits: Mapping[str, Mapping[str, Any]] = self.run["splits"]
        return splits

    @property
    def records(self) -> int:
        """Number of examples with features."""
        return sum(split["records"] for split in self.splits.values())

    @property
    def schema(self) -> RecordSchema:
        """What the records have in common."""
        return schema_of(self.run, self.labels)

    @property
    def shard_format(self) -> type[ShardFormat]:
        """The format that is read: the first of those that were written."""
        return SHARD_FORMATS.get(self.run["formats"][0])

    def feature_field(self, feature: str | None) -> str:
        """The field of a stored feature, from the name of its layer; the only field when there is one.

        Raises:
          InputError: there is no such feature, or there are several and none is chosen.
        """
        names: dict[str, str] = {name.partition("/")[2] or name: name for name in self.schema.features}
        if feature is None and len(names) == 1:
            return next(iter(names.values()))
        if feature not in names:
            found = f"no feature {feature!r}" if feature else "several features"
            raise InputError(f"The dataset at {self.path} has {found}; choose one with --feature: {', '.join(names)}.")
        return names[feature]

    def table(self, split: str, feature: str | None = None, share: float = 1.0) -> FeatureTable:
        """A split in memory, or a part of it.

        Args:
          split: Which split.
          feature: Which of several stored features, by the name of its layer; not needed when there is one.
          share: Which part of the examples is read, in [0, 1], chosen by a stable hash of their ids.

        Raises:
          InputError: there is no such split, or no such feature.
        """
        field, schema, in_frames = self.feature_field(feature), self.schema, self.in_frames(feature)
        ids, rows, labels = [], [], []
        for record in self._read(split):
            if is_sampled(record.id, share):
                ids.append(record.id)
                values = schema.shaped(field, record.features[field])
                row = values.mean(axis=0, dtype=np.float64).astype(np.float32) if in_frames else values
                rows.append(row.reshape(-1))
                labels.append(record.label)
        size = math.prod(length for length in schema.features[field] if length is not None)
        features = np.stack(rows) if rows else np.zeros((0, size), np.float32)
        return FeatureTable(ids, features, *_label_arrays(labels, schema))

    def in_frames(self, feature: str | None) -> bool:
        """Whether a feature, chosen as for :meth:`feature_field`, is frames whose number differs between examples."""
        return None in self.schema.features[self.feature_field(feature)]

    def paths(self, split: str) -> list[str]:
        """The files of a split, in their order.

        Raises:
          InputError: there is no such split.
        """
        if split not in self.splits:
            found = ", ".join(self.splits)
            raise InputError(
                f"The dataset at {self.path} has no split {split!r}{did_you_mean(split, self.splits)} (splits: {found})"
            )
        root, suffix = storage.absolute(self.path), self.shard_format.suffix
        shards = (ShardName.parse(shard["shard"]) for shard in self.run["shards"])
        return [storage.join(root, shard.file_name(suffix)) for shard in shards if shard.split == split]

    def _read(self, split: str) -> Iterator[FeatureRecord]:
        records = {shard["shard"]: shard["records"] for shard in self.run["shards"]}
        for path in self.paths(split):
            expected, found = records[posixpath.basename(path).removesuffix(self.shard_format.suffix)], 0
            try:
                with storage.open_read(path) as file:
                    for record in self.shard_format.read(file, self.schema):
                        found += 1
                        yield record
                if found != expected:
                    raise ValueError(f"expected {expected} records, found {found}")
            except (OSError, ValueError, KeyError) as error:
                raise InputError(
                    f"The shard {path} cannot be read ({error}); beam-job verify says what is damaged, and extract "
                    f"--resume makes missing and incomplete shards again."
                ) from None


def _label_arrays(
    labels: Sequence[StoredLabel], schema: RecordSchema
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Labels as a FeatureTable has them, and which of them are known."""
    known = np.array([NO_LABEL not in indices_in(label) for label in labels], np.bool_)
    if schema.label_kind is LabelKind.CLASS:
        return np.array(labels, np.int64), known
    if schema.label_kind is LabelKind.TARGET:
        return np.array(labels, np.float32), known
    sets = np.zeros((len(labels), len(schema.labels)), np.bool_)
    for row, label in enumerate(labels):
        if known[row]:
            sets[row, list(indices_in(label))] = True
    return sets, known


def load_features(path: str, split: str = "train") -> Any:
    """A split as a ``tf.data.Dataset``, ready to batch.

    Args:
      path: The directory that ``extract`` wrote.
      split: Which split.

    Returns:
      A Dataset of (feature, label): float32 in the shape of the feature, and int64, -1 for no label. Where an example
      has a list of labels, float32 [C] in place of it, 1 for each class that it has, or all -1 for no list; where it
      has a number, float32, NaN for none. Features that differ in length are batched with ``Dataset.ragged_batch``,
      into a RaggedTensor. When several features are stored, the first element is a dict of them by the names of their
      layers. Its cardinality is known. The order is always the same.

    Raises:
      InputError: there is no complete dataset at the path, or no such split in it.
    """
    tf = import_tensorflow()
    dataset = Dataset.open(path)
    batches = dataset.shard_format.load(dataset.paths(split), dataset.schema)
    schema = dataset.schema
    names, kind = list(schema.features), schema.label_kind

    def pair(batch: Any) -> Any:
        label = batch[kind.field]
        if kind is LabelKind.MULTI:
            hot = tf.reduce_sum(tf.one_hot(label, len(schema.labels)), axis=1)
            label = tf.where(tf.reduce_any(label == NO_LABEL, axis=1)[:, tf.newaxis], -tf.ones_like(hot), hot)
        if len(names) == 1:
            return batch[names[0]], label
        return {name.partition("/")[2]: batch[name] for name in names}, label

    pairs = batches.map(pair).unbatch()
    records = dataset.splits[split]["records"]
    return pairs.apply(tf.data.experimental.assert_cardinality(records)).prefetch(tf.data.AUTOTUNE)
