"""The names of the files in a dataset, each built and parsed here and nowhere else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

SUCCESS = "_SUCCESS"
RUN = "run.json"
ERRORS = "errors.jsonl"
DATASET_INFO = "dataset_info.json"
FEATURES = "features.json"
LABELS = "label.labels.txt"
SCHEMA = "schema.pbtxt"
RECEIPTS = "receipts"
WORK = ".work"
PLAN = f"{WORK}/plan.json"
INTENT = f"{WORK}/intent.json"
LOCK = f"{WORK}/lock"

_SHARD = re.compile(r"(?P<split>[A-Za-z][A-Za-z0-9_]*)-(?P<index>\d{5,})-of-(?P<count>\d{5,})\.tfrecord")
_TEMPORARY = re.compile(r".*\.tmp-[0-9a-f]{8,}")
METADATA = frozenset({RUN, ERRORS, DATASET_INFO, FEATURES, LABELS, SCHEMA})


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """One output shard: ``{split}-{index:05d}-of-{count:05d}.tfrecord``, the form that TFDS reads.

    >>> ShardName("train", 3, 16).file_name
    'train-00003-of-00016.tfrecord'
    >>> ShardName.parse("train-00003-of-00016.tfrecord").index
    3
    """

    split: str
    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"expected a shard index in [0, {self.count}), found {self.index}")

    @property
    def file_name(self) -> str:
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}.tfrecord"

    @property
    def receipt_name(self) -> str:
        """The receipt's path within the dataset."""
        return f"{RECEIPTS}/{self.split}-{self.index:05d}-of-{self.count:05d}.json"

    @classmethod
    def parse(cls, file_name: str) -> ShardName:
        """The shard that a file name stands for.

        Raises:
          ValueError: the name is none of a shard.
        """
        match = _SHARD.fullmatch(file_name)
        if not match:
            raise ValueError(f"expected SPLIT-00000-of-00001.tfrecord, found {file_name!r}")
        return cls(match["split"], int(match["index"]), int(match["count"]))


def files_of(shards: Iterable[ShardName]) -> set[str]:
    """The paths, within a dataset, of all that a finished one with these shards holds."""
    return {SUCCESS, *METADATA}.union(*((shard.file_name, shard.receipt_name) for shard in shards))


def is_temporary(path: str) -> bool:
    """Whether a path within a dataset is what an interrupted write left behind."""
    return bool(_TEMPORARY.fullmatch(path))


def is_ours(path: str) -> bool:
    """Whether a path within a dataset is one that this package writes (and so may delete with ``--overwrite``)."""
    top, _, rest = path.partition("/")
    if rest:
        return top == WORK or (top == RECEIPTS and (rest.endswith(".json") or is_temporary(rest)))
    return path == SUCCESS or path in METADATA or bool(_SHARD.fullmatch(path)) or is_temporary(path)
