"""From refs to the layout of the dataset: its splits, the number of shards of each, the index of each label."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from beam_job.core.errors import InputError
from beam_job.core.fingerprints import digest_of
from beam_job.core.naming import ShardName
from beam_job.core.options import ShardOptions
from beam_job.core.records import ExampleRef
from beam_job.core.sharding import assign_split, default_num_shards, shard_index
from beam_job.core.values import SplitFractions
from beam_job.dataset.labels import LabelVocabulary

_KINDS_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class SplitPolicy:
    """How an example without a split gets one.

    Attributes:
      fractions: Shares of the splits, or None to put all examples in ``train``.
      seed: Seed of the hash.
    """

    fractions: SplitFractions | None
    seed: int

    def assign(self, ref: ExampleRef) -> ExampleRef:
        """``ref`` with a split: its own, or one by a stable hash of its group or id."""
        if ref.split is not None:
            return ref
        fractions = self.fractions.as_dict() if self.fractions else {}
        return dataclasses.replace(ref, split=assign_split(ref.group or ref.id, fractions, self.seed))


@dataclasses.dataclass
class Tally:
    """What a layout needs to know about all refs; tallies add up in any order.

    Attributes:
      examples: Split name to number of examples.
      labels: The labels that occur.
      passed_over: Kind to number of the files that are no examples.
    """

    examples: Counter[str] = dataclasses.field(default_factory=Counter)
    labels: set[str] = dataclasses.field(default_factory=set)
    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, ref: ExampleRef) -> None:
        """Counts a ref that has a split."""
        assert ref.split is not None
        self.examples[ref.split] += 1
        if ref.label is not None:
            self.labels.add(ref.label)

    def merge(self, other: Tally) -> None:
        """Adds another tally."""
        self.examples.update(other.examples)
        self.labels |= other.labels
        self.passed_over.update(other.passed_over)


@dataclasses.dataclass(frozen=True)
class DatasetLayout:
    """How a dataset is cut.

    Attributes:
      examples: Split name to number of examples, sorted by name.
      shards: Split name to number of shards.
      vocabulary: Label to index.
      passed_over: Kind to number of the files that are no examples, sorted by kind.
    """

    examples: Mapping[str, int]
    shards: Mapping[str, int]
    vocabulary: LabelVocabulary
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)

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

    def to_json(self) -> dict[str, Any]:
        return {
            "examples": dict(self.examples),
            "shards": dict(self.shards),
            "labels": len(self.vocabulary.names),
            "labels_digest": digest_of(list(self.vocabulary.names)),
        }


def make_layout(
    tally: Tally,
    options: ShardOptions,
    vocabulary: LabelVocabulary | None,
    source: str,
    earlier_shards: Mapping[str, int] | None = None,
) -> DatasetLayout:
    """The layout for an input that has been counted.

    Args:
      tally: What was counted.
      options: The number of shards, if given.
      vocabulary: The labels, if given; otherwise those that occur.
      source: The input, for the message when it is empty.
      earlier_shards: Split name to the number of shards of an earlier run at the target, which is kept.

    Raises:
      InputError: the input has no example.
    """
    if not tally.examples:
        told = f"; {describe_passed_over(tally.passed_over, {})}" if tally.passed_over else ""
        raise InputError(f"Found no example in {source!r}; expected at least one{told}.")
    splits = sorted(tally.examples)
    earlier = earlier_shards or {}
    shards = {
        split: options.num_shards
        or earlier.get(split)
        or default_num_shards(tally.examples[split], options.examples_per_shard)
        for split in splits
    }
    examples = {split: tally.examples[split] for split in splits}
    passed_over = {kind: tally.passed_over[kind] for kind in sorted(tally.passed_over)}
    return DatasetLayout(examples, shards, vocabulary or LabelVocabulary.build(tally.labels), passed_over)


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
