"""The names of the files in a dataset. Each is built and parsed here and nowhere else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from beam_job.core.labels import LabelKind

SUCCESS = "_SUCCESS"
RUN = "run.json"
ERRORS = "errors.jsonl"
DATASET_INFO = "dataset_info.json"
FEATURES = "features.json"
LABELS = "label.labels.txt"
MULTI_LABELS = "labels.labels.txt"  # the same where an example has several, for TFDS
SCHEMA = "schema.pbtxt"
RECEIPTS = "receipts"
WORK = ".work"
PIECES = f"{WORK}/pieces"
LAYOUT = f"{WORK}/layout.json"
INTENT = f"{WORK}/intent.json"
LOCK = f"{WORK}/lock"
# The end of the name of a served model's input that takes the bytes of files: TensorFlow Serving has base64 there.
BYTES_SUFFIX = "_bytes"
METADATA = frozenset({RUN, ERRORS, DATASET_INFO, FEATURES, LABELS, MULTI_LABELS, SCHEMA})

_SHARD = re.compile(r"(?P<split>[A-Za-z][A-Za-z0-9_]*)-(?P<index>\d{5,})-of-(?P<count>\d{5,})")
_TEMPORARY = re.compile(r".*\.tmp-[0-9a-f]{8,}")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """One output shard: ``{split}-{index:05d}-of-{count:05d}``, the form that TFDS reads.

    >>> str(ShardName("train", 3, 16))
    'train-00003-of-00016'
    >>> ShardName.parse("train-00003-of-00016").index
    3
    """

    split: str
    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"expected a shard index in [0, {self.count}), found {self.index}")

    def __str__(self) -> str:
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}"

    def file_name(self, suffix: str) -> str:
        """The path, within the dataset, of the file in the shard format that has ``suffix``."""
        return f"{self}{suffix}"

    @property
    def receipt_name(self) -> str:
        """The path of the receipt within the dataset."""
        return f"{RECEIPTS}/{self}.json"

    @classmethod
    def parse(cls, name: str) -> ShardName:
        """The shard that a name stands for.

        Raises:
          ValueError: the name is not that of a shard.
        """
        match = _SHARD.fullmatch(name)
        if not match:
            raise ValueError(f"expected SPLIT-00000-of-00001, found {name!r}")
        return cls(match["split"], int(match["index"]), int(match["count"]))


def files_of(shards: Iterable[ShardName], suffixes: Sequence[str], kind: LabelKind) -> set[str]:
    """The paths, within a dataset, of all files of a finished one.

    Args:
      shards: Its shards.
      suffixes: Those of its formats.
      kind: What its labels are.
    """
    files = {SUCCESS, *METADATA} - (set() if kind is LabelKind.MULTI else {MULTI_LABELS})
    for shard in shards:
        files.add(shard.receipt_name)
        files.update(shard.file_name(suffix) for suffix in suffixes)
    return files


def is_temporary(path: str) -> bool:
    """Whether a path within a dataset was left behind by an interrupted write."""
    return bool(_TEMPORARY.fullmatch(path))


def is_ours(path: str, suffixes: Iterable[str]) -> bool:
    """Whether this package writes files with such a path within a dataset, and ``--overwrite`` may delete it.

    Args:
      path: The path within the dataset.
      suffixes: The suffixes of all shard formats.
    """
    top, _, rest = path.partition("/")
    if rest:
        return top == WORK or (top == RECEIPTS and (rest.endswith(".json") or is_temporary(rest)))
    if path == SUCCESS or path in METADATA or is_temporary(path):
        return True
    return any(path.endswith(suffix) and _SHARD.fullmatch(path.removesuffix(suffix)) for suffix in suffixes)
