"""TFRecord as a shard format: TFDS, TFX and plain ``tf.data`` read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, BinaryIO, ClassVar

from beam_job.core import naming
from beam_job.core.labels import LabelKind
from beam_job.core.records import FeatureRecord, Shape
from beam_job.outputs.base import RecordSchema, ShardFormat, SplitFiles
from beam_job.outputs.metadata.tfds import dataset_info_json, features_json, label_files
from beam_job.outputs.metadata.tfx import schema_pbtxt
from beam_job.outputs.tfrecord.examples import pack_example, unpack_example
from beam_job.runtime.framing import frame, read_records
from beam_job.runtime.tensorflow import import_tensorflow

_PARSERS = 4


class _Writer:
    def __init__(self, file: IO[bytes], kept: Sequence[str]) -> None:
        self._file, self._kept = file, kept

    def add(self, record: FeatureRecord) -> None:
        self._file.write(frame(pack_example(record, self._kept)))

    def finish(self) -> None:
        """Nothing is left to write."""


class TFRecord(ShardFormat):
    """Uncompressed TFRecord files of ``tf.train.Example``: the features, ``id``, the label and what is kept."""

    suffix: ClassVar[str] = ".tfrecord"

    @classmethod
    def writer(cls, file: IO[bytes], schema: RecordSchema) -> _Writer:
        return _Writer(file, schema.kept)

    @classmethod
    def read(cls, file: BinaryIO, schema: RecordSchema) -> Iterator[FeatureRecord]:
        return (unpack_example(data, schema.kept) for data in read_records(file))

    @classmethod
    def reader_files(cls, source: str, schema: RecordSchema, splits: Mapping[str, SplitFiles]) -> dict[str, str]:
        return {
            naming.DATASET_INFO: dataset_info_json(source, cls.suffix.removeprefix("."), schema, splits),
            naming.FEATURES: features_json(schema),
            naming.SCHEMA: schema_pbtxt(schema),
            **label_files(schema),
        }

    @classmethod
    def load(cls, paths: Sequence[str], schema: RecordSchema) -> Any:
        tf = import_tensorflow()
        fields = {
            name: tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)
            if None in shape
            else tf.io.FixedLenFeature(shape, tf.float32)
            for name, shape in schema.features.items()
        }
        fields[schema.label_kind.field] = {
            LabelKind.CLASS: tf.io.FixedLenFeature([], tf.int64),
            LabelKind.MULTI: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
            LabelKind.TARGET: tf.io.FixedLenFeature([], tf.float32),
        }[schema.label_kind]

        def parse(serialized: Any) -> Any:
            parsed = tf.io.parse_example(serialized, fields)
            ragged = {name: shape for name, shape in schema.features.items() if None in shape}
            return {**parsed, **{name: _frames(tf, parsed[name], shape) for name, shape in ragged.items()}}

        raw = tf.data.TFRecordDataset(list(paths), num_parallel_reads=None)
        return raw.batch(schema.loaded_at_once).map(parse, num_parallel_calls=_PARSERS, deterministic=True)


def _frames(tf: Any, flat: Any, shape: Shape) -> Any:
    """A RaggedTensor [B, (frames), ...] from the ragged values [B, (frames * ...)] of features of a shape."""
    frame = tf.TensorShape(shape[1:])
    splits = flat.row_splits // frame.num_elements()
    return tf.RaggedTensor.from_row_splits(tf.reshape(flat.values, [-1, *frame]), splits)
