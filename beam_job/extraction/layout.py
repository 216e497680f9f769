"""From refs to the layout of the dataset: its splits, the number of shards of each, the index of each label."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from beam_job.core.errors import InputError, UnknownLabelError
from beam_job.core.fingerprints import digest_of
from beam_job.core.labels import names_in
from beam_job.core.naming import ShardName
from beam_job.core.options import ShardOptions
from beam_job.core.records import ExampleRef
from beam_job.core.sharding import default_num_shards, shard_index
from beam_job.dataset.labels import UNKNOWN_LABEL, LabelVocabulary, Numbering
from beam_job.extraction.folders import name_below, shared_folders

_KINDS_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class ShardOrigin:
    """What a shard by input is made of.

    Attributes:
      key: The piece.
      fingerprint: Hash over everything that decides the piece's examples and their features.
      earlier: The name of the shard of an earlier run that holds the features, or None for a staged one.
    """

    key: str
    fingerprint: str
    earlier: str | None


@dataclasses.dataclass(frozen=True)
class PieceSummary:
    """What the layout needs to know of a piece that has been extracted.

    Attributes:
      number: Its place among all pieces.
      key: Which piece it is.
      fingerprint: Hash over everything that decides its examples and their features.
      shards: Split to the name of the shard that an earlier run made of it, or None for one that is staged.
      examples: Split to number of examples.
      labels: The labels that occur, as the container has them.
      passed_over: Kind to number of the members that are no examples.
    """

    number: int
    key: str
    fingerprint: str
    shards: Mapping[str, str | None]
    examples: Mapping[str, int]
    labels: frozenset[str]
    passed_over: Mapping[str, int]


@dataclasses.dataclass
class Tally:
    """What a layout needs to know about all refs; tallies add up in any order.

    Attributes:
      examples: Split name to number of examples.
      labels: The labels that occur.
      passed_over: Kind to number of the files that are no examples.
      pieces: Number of a piece of a container to split to its shard.
    """

    examples: Counter[str] = dataclasses.field(default_factory=Counter)
    labels: set[str] = dataclasses.field(default_factory=set)
    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)
    pieces: dict[int, Mapping[str, ShardOrigin]] = dataclasses.field(default_factory=dict)

    def add(self, ref: ExampleRef) -> None:
        """Counts a ref that has a split."""
        assert ref.split is not None
        self.examples[ref.split] += 1
        self.labels.update(names_in(ref.label))

    def add_piece(self, piece: PieceSummary) -> None:
        """Counts the examples of a piece."""
        self.examples.update(piece.examples)
        self.labels |= piece.labels
        self.passed_over.update(piece.passed_over)
        self.pieces[piece.number] = {
            split: ShardOrigin(piece.key, piece.fingerprint, earlier) for split, earlier in piece.shards.items()
        }

    def merge(self, other: Tally) -> None:
        """Adds another tally."""
        self.examples.update(other.examples)
        self.labels |= other.labels
        self.passed_over.update(other.passed_over)
        self.pieces.update(other.pieces)


@dataclasses.dataclass(frozen=True)
class DatasetLayout:
    """How a dataset is cut.

    Attributes:
      examples: Split name to number of examples, sorted by name.
      shards: Split name to number of shards.
      vocabulary: Label to index.
      passed_over: Kind to number of the files that are no examples, sorted by kind.
      origins: For shards by input, which piece each is made of; empty for shards by hash.
      shared: The folders that all examples in folders of containers share: their label is the folder below.
      absent: The names in the vocabulary that no example has.
    """

    examples: Mapping[str, int]
    shards: Mapping[str, int]
    vocabulary: LabelVocabulary
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    origins: Mapping[ShardName, ShardOrigin] = dataclasses.field(default_factory=dict)
    shared: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @cached_property
    def total(self) -> int:
        """Examples in all splits."""
        return sum(self.examples.values())

    def shard_names(self) -> Iterator[ShardName]:
        """Every shard, in the order of their names."""
        for split, count in self.shards.items():
            for index in range(count):
                yield ShardName(split, index, count)

    def shard_of(self, ref: ExampleRef) -> ShardName:
        """The shard that a ref with a split belongs to."""
        assert ref.split is not None
        count = self.shards[ref.split]
        return ShardName(ref.split, shard_index(ref.id, count), count)

    def name_of(self, label: str) -> str:
        """A label as a container has it, as it is in the vocabulary."""
        return name_below(label, len(self.shared))

    def index_of(self, label: str) -> int:
        """The index of a label as a container has it, -2 for one that the vocabulary does not have."""
        try:
            return self.vocabulary.index(self.name_of(label))
        except UnknownLabelError:
            return UNKNOWN_LABEL

    def to_json(self) -> dict[str, Any]:
        return {
            "examples": dict(self.examples),
            "shards": dict(self.shards),
            **({"pieces": {str(name): origin.key for name, origin in self.origins.items()}} if self.origins else {}),
            "labels": len(self.vocabulary.names),
            "label_type": self.vocabulary.kind.value,
            "labels_digest": digest_of(list(self.vocabulary.names)),
        }


def make_layout(
    tally: Tally,
    options: ShardOptions,
    numbering: Numbering,
    source: str,
    earlier_shards: Mapping[str, int] | None = None,
) -> DatasetLayout:
    """The layout for an input that has been counted.

    Args:
      tally: What was counted.
      options: The number of shards, if given.
      numbering: How classes get their indices.
      source: The input, for the message when it is empty.
      earlier_shards: Split name to the number of shards of an earlier run at the target, which is kept.

    Raises:
      InputError: the input has no example, or its classes can have no indices.
    """
    if not tally.examples:
        told = f"; {describe_passed_over(tally.passed_over, {})}" if tally.passed_over else ""
        raise InputError(f"Found no example in {source!r}; expected at least one{told}.")
    splits = sorted(tally.examples)
    earlier = earlier_shards or {}
    origins = _origins(tally.pieces)
    made = Counter(shard.split for shard in origins)
    shards = {
        split: made[split]
        or options.num_shards
        or earlier.get(split)
        or default_num_shards(tally.examples[split], options.examples_per_shard)
        for split in splits
    }
    shared = shared_folders(tally.labels)
    occurring = {name_below(label, len(shared)) for label in tally.labels}
    vocabulary = numbering.vocabulary(occurring)
    return DatasetLayout(
        examples={split: tally.examples[split] for split in splits},
        shards=shards,
        vocabulary=vocabulary,
        passed_over={kind: tally.passed_over[kind] for kind in sorted(tally.passed_over)},
        origins=origins,
        shared=shared,
        absent=tuple(name for name in vocabulary.names if name not in occurring),
    )


def _origins(pieces: Mapping[int, Mapping[str, ShardOrigin]]) -> dict[ShardName, ShardOrigin]:
    """The shards by input: in each split, the pieces that have examples in it are numbered in their order."""
    by_split: defaultdict[str, list[ShardOrigin]] = defaultdict(list)
    for number in sorted(pieces):
        for split, origin in pieces[number].items():
            by_split[split].append(origin)
    return {
        ShardName(split, index, len(found)): origin
        for split, found in sorted(by_split.items())
        for index, origin in enumerate(found)
    }


def describe_passed_over(passed_over: Mapping[str, int], extras: Mapping[str, str]) -> str:
    """A phrase for the files that are no examples, the most frequent kinds first.

    >>> describe_passed_over({".heic": 4, "without suffix": 12}, {".heic": "pip install x"})
    '16 files passed over: 12 without suffix, 4 .heic (to read them: pip install x)'

    Args:
      passed_over: Kind to number.
      extras: Kind to what must be installed to read such files.
    """
    kinds = sorted(passed_over, key=lambda kind: (-passed_over[kind], kind))
    told = [f"{passed_over[kind]:,} {kind}" + _install(extras.get(kind)) for kind in kinds[:_KINDS_SHOWN]]
    if more := sum(passed_over[kind] for kind in kinds[_KINDS_SHOWN:]):
        told.append(f"{more:,} others")
    total = sum(passed_over.values())
    return f"{total:,} {'file' if total == 1 else 'files'} passed over: {', '.join(told)}"


def _install(command: str | None) -> str:
    return f" (to read them: {command})" if command else ""
