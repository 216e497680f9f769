"""What a shard format is: it writes records to a file, reads them back, and says what its readers need beside it."""

from __future__ import annotations

import abc
import dataclasses
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, BinaryIO, ClassVar, Protocol

from beam_job.core.labels import LabelKind
from beam_job.core.records import FeatureRecord, Float32Array, Shape
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_tensorflow

# Records per batch of a loaded dataset: parsing a batch costs a fraction of parsing one by one. Frames may be many.
_LOADED_AT_ONCE, _FRAMED_AT_ONCE = 256, 8


@dataclasses.dataclass(frozen=True)
class RecordSchema:
    """What all records of a dataset have in common.

    Attributes:
      features: Feature name to the shape for one example; the first length is None where it differs between examples.
      labels: The label vocabulary, in the order of the indices.
      label_kind: What a label is, and so the name of the field that holds it.
      kept: The names of the columns that were kept, which hold text.
    """

    features: Mapping[str, Shape]
    labels: Sequence[str]
    label_kind: LabelKind = LabelKind.CLASS
    kept: Sequence[str] = ()

    def extent(self) -> list[Any]:
        """What a dataset has beyond features and one class for each example, as JSON; often nothing."""
        return [
            *([self.label_kind.value] if self.label_kind is not LabelKind.CLASS else []),
            *([list(self.kept)] if self.kept else []),
        ]

    @property
    def loaded_at_once(self) -> int:
        """How many records are parsed at once when a dataset is loaded."""
        return _FRAMED_AT_ONCE if any(None in shape for shape in self.features.values()) else _LOADED_AT_ONCE

    def fits(self, features: Mapping[str, Float32Array]) -> bool:
        """Whether features, flattened, are those of an example."""
        if set(features) != set(self.features):
            return False
        for name, shape in self.features.items():
            count = math.prod(length for length in shape if length is not None)
            size = features[name].size
            if size != count and not (None in shape and size and size % count == 0):
                return False
        return True

    def shaped(self, name: str, values: Float32Array) -> Float32Array:
        """The values of a feature, flattened, in its shape.

        Raises:
          ValueError: they are too many or too few.
        """
        return values.reshape(tuple(-1 if length is None else length for length in self.features[name]))


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The files of a split in one format, in the order of the shards.

    Attributes:
      records: Number of records in each.
      bytes: Their total size.
    """

    records: Sequence[int]
    bytes: int


class ShardWriter(Protocol):
    """Writes the records of one shard to an open file."""

    def add(self, record: FeatureRecord) -> None:
        """Writes a record, or keeps it for :meth:`finish`."""

    def finish(self) -> None:
        """Writes what is left; the file stays open."""


class ShardFormat(abc.ABC):
    """A format of shard files. The bytes of a file depend on its records and the schema alone.

    Attributes:
      suffix: The suffix of its files.
    """

    suffix: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def writer(cls, file: IO[bytes], schema: RecordSchema) -> ShardWriter:
        """A writer of one shard to ``file``."""

    @classmethod
    @abc.abstractmethod
    def read(cls, file: BinaryIO, schema: RecordSchema) -> Iterator[FeatureRecord]:
        """The records in a file, with their features flattened, in the order in which they were written.

        Raises:
          ValueError: the file is truncated or damaged; the message says where.
        """

    @classmethod
    def reader_files(cls, source: str, schema: RecordSchema, splits: Mapping[str, SplitFiles]) -> dict[str, str]:
        """Name to content of the files that other readers need beside the shards.

        Args:
          source: One sentence about the dataset.
          schema: What the records have in common.
          splits: Split name to its files.
        """
        return {}

    @classmethod
    def load(cls, paths: Sequence[str], schema: RecordSchema) -> Any:
        """A ``tf.data.Dataset`` of batches of any size: dicts of the features, float32, and the label.

        A feature whose first length differs between examples is a RaggedTensor. The label is ``label``, int64 [B];
        ``labels``, int64 and ragged [B, (classes)]; or ``target``, float32 [B].

        Args:
          paths: The files, in their order.
          schema: What the records have in common.
        """
        tf = import_tensorflow()

        def records() -> Iterator[dict[str, Any]]:
            for path in paths:
                with storage.open_read(path) as file:
                    for record in cls.read(file, schema):
                        shaped = {name: schema.shaped(name, record.features[name]) for name in schema.features}
                        yield {**shaped, schema.label_kind.field: record.label}

        signature = {name: tf.TensorSpec(shape, tf.float32) for name, shape in schema.features.items()}
        dtype = tf.float32 if schema.label_kind is LabelKind.TARGET else tf.int64
        shape = [None] if schema.label_kind is LabelKind.MULTI else []
        return tf.data.Dataset.from_generator(
            records, output_signature={**signature, schema.label_kind.field: tf.TensorSpec(shape, dtype)}
        ).ragged_batch(schema.loaded_at_once)


def file_bytes(shard_format: type[ShardFormat], records: Sequence[FeatureRecord], schema: RecordSchema) -> int:
    """The size in bytes of a file with these records."""
    file = io.BytesIO()
    writer = shard_format.writer(file, schema)
    for record in records:
        writer.add(record)
    writer.finish()
    return len(file.getvalue())
