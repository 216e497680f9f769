"""What a shard format is: it writes records to a file, reads them back, and says what its readers need beside it."""

from __future__ import annotations

import abc
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, BinaryIO, ClassVar, Protocol

from beam_job.core.records import FeatureRecord
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_tensorflow

# Records per batch of a loaded dataset: parsing a batch costs a fraction of parsing one by one.
LOADED_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class RecordSchema:
    """What all records of a dataset have in common.

    Attributes:
      features: Feature name to the shape for one example.
      labels: The label vocabulary, in the order of the indices.
    """

    features: Mapping[str, tuple[int, ...]]
    labels: Sequence[str]


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
        """A ``tf.data.Dataset`` of batches of any size: dicts of the features, float32, and ``label``, int64.

        Args:
          paths: The files, in their order.
          schema: What the records have in common.
        """
        tf = import_tensorflow()

        def records() -> Iterator[dict[str, Any]]:
            for path in paths:
                with storage.open_read(path) as file:
                    for record in cls.read(file, schema):
                        shaped = {name: record.features[name].reshape(shape) for name, shape in schema.features.items()}
                        yield {**shaped, "label": record.label}

        signature = {name: tf.TensorSpec(shape, tf.float32) for name, shape in schema.features.items()}
        return tf.data.Dataset.from_generator(
            records, output_signature={**signature, "label": tf.TensorSpec([], tf.int64)}
        ).batch(LOADED_AT_ONCE)


def file_bytes(shard_format: type[ShardFormat], records: Sequence[FeatureRecord], schema: RecordSchema) -> int:
    """The size in bytes of a file with these records."""
    file = io.BytesIO()
    writer = shard_format.writer(file, schema)
    for record in records:
        writer.add(record)
    writer.finish()
    return len(file.getvalue())
