"""A toy member of each open set: one class each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar

import numpy as np
import tensorflow as tf

from beam_job.core.errors import EmptyFileError, FlagNeededError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import ExampleRef, FeatureRecord, Float32Array, PassedOver, Shape
from beam_job.engines.tensorflow import TensorFlowEngine
from beam_job.inputs.base import ExampleFiles, Listing
from beam_job.modalities.base import Batch, FrozenInput, InputRequest, Modality, ModelInput, Preview
from beam_job.models.sources.base import Artefact
from beam_job.outputs.base import RecordSchema, ShardFormat
from beam_job.runtime import storage

BYTE_VALUES = 256


@dataclasses.dataclass(frozen=True)
class ListFile(Listing):
    """An input: a file with one path per line, relative to it; the label is the suffix."""

    path: str
    ids_unique: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return path.endswith(".list")

    def units(self) -> Iterator[str]:
        yield self.path

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        for name in storage.read_bytes(unit).decode().splitlines():
            path = storage.join(storage.parent(unit), name)
            example = ExampleRef(name, path, label=Path(name).suffix, version=storage.version_of(path))
            yield files.passed_over(path) or example


class MadeModel:
    """A model source: ``made:N`` is a SavedModel from histograms, float32 [B, 256], to N numbers."""

    folder: ClassVar[Path]

    @staticmethod
    def matches(handle: str) -> bool:
        return handle.startswith("made:")

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        size = int(options.model.removeprefix("made:"))
        path = MadeModel.folder / str(size)
        if not path.exists():
            module = tf.Module()
            module.weights = tf.Variable(tf.random.stateless_uniform([BYTE_VALUES, size], [1, 2]))
            spec = tf.TensorSpec([None, BYTE_VALUES], tf.float32, name="histograms")
            module.serve = tf.function(lambda histograms: {"sums": histograms @ module.weights}, input_signature=[spec])
            tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
        return Artefact("saved_model", str(path), storage.directory_digest(str(path)))


class CountingEngine(TensorFlowEngine):
    """An engine: TensorFlow, with a count of the examples that it ran, except the probe."""

    ran: ClassVar[list[int]] = []

    def run(self, batch: Batch) -> Mapping[str, Float32Array]:
        self.ran.append(sum(bool(np.any(example)) for example in batch))
        return super().run(batch)


@dataclasses.dataclass(frozen=True)
class Histograms(Modality):
    """A modality: any bytes, as the shares of their 256 values."""

    name: ClassVar[str] = "histogram"
    takes: ClassVar[str] = "histograms [B, 256]"
    suffixes: ClassVar[frozenset[str]] = frozenset((".bin", ".txt"))
    input_dtype: ClassVar[str] = "float32"

    @classmethod
    def matches(cls, declared: ModelInput) -> bool:
        return declared.dtype == "float32" and declared.shape is not None and declared.shape[1:] == (BYTE_VALUES,)

    @classmethod
    def input_shape(cls, declared: ModelInput, request: InputRequest) -> Shape:
        if declared.shape is None:
            raise FlagNeededError("A model of histograms fixes its shape.")
        return declared.shape[1:]

    @classmethod
    def of(cls, frozen: FrozenInput, model: ModelOptions, decode: DecodeOptions) -> Histograms:
        return cls()

    @classmethod
    def preview(cls, content: bytes) -> Preview:
        return Preview("text", f"toy {content[:10].hex()}")

    def prepare(self, content: bytes) -> Float32Array:
        if not content:
            raise EmptyFileError("expected bytes, found an empty file")
        counts = np.bincount(np.frombuffer(content, np.uint8), minlength=BYTE_VALUES)
        return np.asarray(counts / len(content), np.float32)

    def probe(self) -> Float32Array:
        return np.zeros(BYTE_VALUES, np.float32)

    def preprocessing(self) -> dict[str, Any]:
        return {"values": BYTE_VALUES}

    def decode_policy(self) -> dict[str, Any]:
        return {"name": "raw"}

    def serve(self, contents: Any) -> Any:
        def histogram(content: Any) -> Any:
            values = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)
            counts = tf.math.bincount(values, minlength=BYTE_VALUES, maxlength=BYTE_VALUES, dtype=tf.float32)
            return counts / tf.cast(tf.size(values), tf.float32)

        return tf.map_fn(histogram, contents, fn_output_signature=tf.TensorSpec([BYTE_VALUES], tf.float32))


class _LinesWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, record: FeatureRecord) -> None:
        features = {name: values.ravel().tolist() for name, values in record.features.items()}
        row = {"id": record.id, "label": record.label, "features": features, "kept": record.kept}
        self._file.write(json.dumps(row, sort_keys=True).encode() + b"\n")

    def finish(self) -> None:
        self._file.write(b"end\n")


class JsonLines(ShardFormat):
    """A shard format: a JSON object per line, and a last line that says so."""

    suffix: ClassVar[str] = ".lines"

    @classmethod
    def writer(cls, file: IO[bytes], schema: RecordSchema) -> _LinesWriter:
        return _LinesWriter(file)

    @classmethod
    def read(cls, file: BinaryIO, schema: RecordSchema) -> Iterator[FeatureRecord]:
        for line in file:
            if line == b"end\n":
                return
            row = json.loads(line)
            features = {name: np.asarray(values, np.float32) for name, values in row["features"].items()}
            label = tuple(row["label"]) if isinstance(row["label"], list) else row["label"]
            yield FeatureRecord(row["id"], label, features, tuple(row["kept"]))
        raise ValueError("the file is truncated")
