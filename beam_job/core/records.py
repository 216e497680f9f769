"""The values that cross a step: frozen, small, checked when they are made. No pixel travels in any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ImageError

Float32Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image is and what is known of it before anyone reads it.

    Attributes:
      id: The name of the image in the dataset, unique in it; the path relative to the input's root by default.
      uri: A local path or a URL of a filesystem that Beam knows, such as ``gs://bucket/name``.
      label: The label as text (integers in decimal), or None when the image has none.
      split: The name of the split, or None as long as none is assigned.
      group: Images of one group never part between splits; None when the image stands alone.
      version: What changes when the content changes (size and modification time, or generation); may be empty.
      problem: Why the source's entry cannot be used, or None. Such a ref becomes an error row without being read.
    """

    id: str
    uri: str
    label: str | None = None
    split: str | None = None
    group: str | None = None
    version: str = ""
    problem: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError(f"an image needs an id that is not empty, found none for uri {self.uri!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureRecord:
    """What is stored for an image.

    Attributes:
      id: The image's id.
      label: Index into the label vocabulary, -1 for none.
      features: Feature name to float32 array of the shape that the model gives for one image.
    """

    id: str
    label: int
    features: Mapping[str, Float32Array]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A row for an image that gave no features.

    Attributes:
      id: The image's id.
      uri: Where it was looked for.
      stage: source, read, decode, label or model.
      error: The class of the error, such as ``CorruptImageError``.
      message: One sentence for a person.
    """

    id: str
    uri: str
    stage: str
    error: str
    message: str

    @classmethod
    def of(cls, ref: ImageRef, error: ImageError) -> Failure:
        """The row for ``ref`` after ``error``."""
        return cls(id=ref.id, uri=ref.uri, stage=error.stage, error=type(error).__name__, message=str(error))

    def to_json(self) -> dict[str, str]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class ShardReceipt:
    """Proof that a shard is committed, written after the shard and trusted by whoever comes later.

    Attributes:
      shard: Name of the shard's file, without a directory.
      fingerprint: Hash over everything that decides the shard's bytes.
      records: Number of feature records in the file.
      failures: An error row for every other image of the shard.
      label_counts: Label index to number of records.
      versions: Id of each image to the fingerprint of what decides its features, so that a later run can tell which of
        them still hold.
      digest: SHA-256 of the file, in hexadecimal.
      size: Size of the file in bytes.
      timings: Seconds spent per stage, summed over threads, and ``retries``, the number of requests that were made
        again because a service could not answer; the only part that differs from run to run.
    """

    shard: str
    fingerprint: str
    records: int
    failures: tuple[Failure, ...]
    label_counts: Mapping[int, int]
    versions: Mapping[str, str]
    digest: str
    size: int
    timings: Mapping[str, float]

    @property
    def images(self) -> int:
        """Number of images that the shard accounts for."""
        return self.records + len(self.failures)

    def to_json(self) -> dict[str, Any]:
        return {
            "shard": self.shard,
            "fingerprint": self.fingerprint,
            "records": self.records,
            "errors": [failure.to_json() for failure in self.failures],
            "label_counts": {str(label): self.label_counts[label] for label in sorted(self.label_counts)},
            "versions": dict(self.versions),
            "digest": self.digest,
            "size": self.size,
            "timings": dict(self.timings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardReceipt:
        """The receipt that :meth:`to_json` gave.

        Raises:
          KeyError, TypeError, ValueError: the data is no receipt.
        """
        return cls(
            shard=data["shard"],
            fingerprint=data["fingerprint"],
            records=int(data["records"]),
            failures=tuple(Failure(**row) for row in data["errors"]),
            label_counts={int(label): int(count) for label, count in data["label_counts"].items()},
            versions=dict(data["versions"]),
            digest=data["digest"],
            size=int(data["size"]),
            timings=dict(data["timings"]),
        )
