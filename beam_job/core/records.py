"""The values that cross a step: frozen, small, checked when they are made.

None of them holds an example's content, except that a short text is part of its ref.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ExampleError
from beam_job.core.labels import Label, StoredLabel

Float32Array = npt.NDArray[np.float32]
# What the label of an example in folders begins with as long as it is not known which folders all examples share.
FOLDER_LABEL = "\0"
# And where the folder above is a split, so that the class is known.
CLASS_FOLDER_LABEL = "\0\0"
# A part of an image: x and y of its upper left corner, width and height, in pixels.
Box = tuple[float, float, float, float]
# Lengths of an array's axes; None for one that is not fixed.
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ExampleRef:
    """Where an example is, and what is known of it before it is read.

    Attributes:
      id: The name of the example in the dataset, unique in it; by default the path relative to the input's root.
      uri: A local path or a URL of a filesystem that Beam knows, such as ``gs://bucket/name``: that of the example, or
        of the file that it is in.
      label: The name of the class (integers in decimal), those of several, or a number; None without one.
      split: The name of the split, or None as long as none is assigned.
      group: Examples of one group stay in one split; None for an example without a group.
      version: Changes when the content changes (size and modification time, or generation); may be empty.
      problem: Why the input's entry cannot be used, or None. Such a ref becomes an error row without being read.
      text: The example itself, if it is a short text, or None.
      member: Where the example is in the file, in the words of the input that listed it, or None if it is the file.
      start: The second of a recording at which the example begins, or None if all of the file is the example.
      end: The second at which it ends; None for the end of the recording.
      kept: What is carried to the output beside: the values of the columns that are kept, as text.
      box: The part of an image that is the example, or None if all of it is.
    """

    id: str
    uri: str
    label: Label = None
    split: str | None = None
    group: str | None = None
    version: str = ""
    problem: str | None = None
    text: str | None = None
    member: str | None = None
    start: float | None = None
    end: float | None = None
    kept: tuple[str, ...] = ()
    box: Box | None = None

    @property
    def is_file(self) -> bool:
        """Whether the example is the file at ``uri``, or a clip or crop of it, rather than a part of the input."""
        return self.text is None and self.member is None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError(f"an example needs an id that is not empty, found none for uri {self.uri!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class PassedOver:
    """A file of an input that is no example.

    Attributes:
      kind: Its suffix, such as ``.heic``, or words such as ``without suffix``.
    """

    kind: str


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A part of a container, which is read in one go; its examples make a shard in each of their splits.

    Attributes:
      kind: The kind of input that it is of, by its name in the registry.
      uri: The container.
      name: The container's path relative to the input's root.
      version: Changes when the container does; may be empty.
      size: The container's length in bytes; -1 if that is not known.
      place: Which part it is, in the words of its kind; empty for the whole container.
      split: The split that the container's name tells, or None.
    """

    kind: str
    uri: str
    name: str
    version: str
    size: int
    place: str = ""
    split: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureRecord:
    """What is stored for an example.

    Attributes:
      id: The example's id.
      label: Index into the label vocabulary, -1 for none; or indices, (-1,) for none; or a number, NaN for none.
      features: Feature name to float32 array of the shape that the model gives for one example.
      kept: The values of the columns that are kept, as text.
    """

    id: str
    label: StoredLabel
    features: Mapping[str, Float32Array]
    kept: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of errors.jsonl, for an example that gave no features.

    Attributes:
      id: The example's id.
      uri: Where it was expected.
      stage: input, read, decode, label or model.
      error: The class of the error, such as ``CorruptExampleError``.
      message: One sentence for a person.
      lost: Of how many examples a row for a damaged part of a container tells, if that is known; otherwise 0.
    """

    id: str
    uri: str
    stage: str
    error: str
    message: str
    lost: int = 0

    @classmethod
    def of(cls, ref: ExampleRef, error: ExampleError) -> ErrorRow:
        """The row for ``ref`` after ``error``."""
        return cls(id=ref.id, uri=ref.uri, stage=error.stage, error=type(error).__name__, message=str(error))

    @property
    def weight(self) -> int:
        """How many examples the row counts as, where it is asked how many may fail."""
        return max(1, self.lost)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "lost" or value}


# An example as it was read: the bytes, or the row for it.
Content = tuple[ExampleRef, bytes | ErrorRow]


@dataclasses.dataclass(frozen=True, slots=True)
class FileDigest:
    """Size in bytes and SHA-256, in hexadecimal, of a file."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """The piece of a container that a shard was made of.

    Attributes:
      piece: Which piece, by its key.
      fingerprint: Hash over everything that decides the piece's examples and their features.
      splits: All splits that the piece has examples in, each of which has a shard.
      uri: The container.
      labels: Index of a label in the shard to the labels that it stands for, as the container has them; -2 stands for
        those that the vocabulary does not have.
      passed_over: Kind to number of the piece's members that are no examples.
    """

    piece: str
    uri: str
    fingerprint: str
    splits: tuple[str, ...]
    labels: Mapping[int, tuple[str, ...]]
    passed_over: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        labels = {str(index): list(self.labels[index]) for index in sorted(self.labels)}
        return {**dataclasses.asdict(self), "splits": list(self.splits), "labels": labels}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Origin:
        """The origin that :meth:`to_json` gave; errors as :meth:`ShardReceipt.from_json`."""
        labels = {int(index): tuple(names) for index, names in data["labels"].items()}
        return cls(
            piece=data["piece"],
            uri=data["uri"],
            fingerprint=data["fingerprint"],
            splits=tuple(data["splits"]),
            labels=labels,
            passed_over=dict(data["passed_over"]),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ShardReceipt:
    """Proof that a shard is committed; written after the shard's files.

    Attributes:
      shard: Name of the shard, such as ``train-00000-of-00004``.
      fingerprint: Hash over everything that decides the shard's bytes.
      records: Number of feature records in each of the shard's files.
      error_rows: A row for every other example of the shard.
      label_counts: Label index to number of records with it, -1 for those without a label.
      example_fingerprints: Id to the hash over everything that decides the example's features; a later run compares
        them to see which features are still valid.
      files: Name to size and digest of each of the shard's files, one per shard format.
      timings: Seconds per stage, summed over threads; ``retries``, the number of repeated requests; ``extracted``, the
        number of examples that were not carried over; ``run``, when the run was launched, in microseconds since 1970.
        The only part that differs from run to run.
      origin: The piece of a container that the shard was made of; None for a shard by hash.
    """

    shard: str
    fingerprint: str
    records: int
    error_rows: tuple[ErrorRow, ...]
    label_counts: Mapping[int, int]
    example_fingerprints: Mapping[str, str]
    files: Mapping[str, FileDigest]
    timings: Mapping[str, float]
    origin: Origin | None = None

    @property
    def examples(self) -> int:
        """Number of examples that the shard accounts for."""
        return self.records + len(self.error_rows)

    def to_json(self) -> dict[str, Any]:
        return {
            "shard": self.shard,
            "fingerprint": self.fingerprint,
            "records": self.records,
            "errors": [row.to_json() for row in self.error_rows],
            "label_counts": {str(label): self.label_counts[label] for label in sorted(self.label_counts)},
            "example_fingerprints": dict(self.example_fingerprints),
            "files": {name: dataclasses.asdict(file) for name, file in self.files.items()},
            "timings": dict(self.timings),
            **({"origin": self.origin.to_json()} if self.origin else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardReceipt:
        """The receipt that :meth:`to_json` gave.

        Raises:
          KeyError, TypeError, ValueError, AttributeError: the data is not a receipt.
        """
        return cls(
            shard=data["shard"],
            fingerprint=data["fingerprint"],
            records=int(data["records"]),
            error_rows=tuple(ErrorRow(**row) for row in data["errors"]),
            label_counts={int(label): int(count) for label, count in data["label_counts"].items()},
            example_fingerprints=dict(data["example_fingerprints"]),
            files={name: FileDigest(**file) for name, file in data["files"].items()},
            timings=dict(data["timings"]),
            origin=Origin.from_json(data["origin"]) if "origin" in data else None,
        )
