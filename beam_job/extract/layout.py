"""From refs to a plan: which splits, how many shards of each, which label has which index."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from beam_job.core.errors import InputError
from beam_job.core.naming import ShardName
from beam_job.core.options import ShardOptions, SplitFractions
from beam_job.core.records import ImageRef
from beam_job.core.sharding import assign_split, default_num_shards, shard_index
from beam_job.dataset.commit import canonical_json
from beam_job.dataset.labels import LabelVocabulary


@dataclasses.dataclass(frozen=True)
class SplitPolicy:
    """How an image without a split of its own gets one.

    Attributes:
      fractions: Shares of the splits, or None to put all images in ``train``.
      seed: Another seed divides differently.
    """

    fractions: SplitFractions | None
    seed: int

    def assign(self, ref: ImageRef) -> ImageRef:
        """``ref`` with a split: its own, or by a stable hash of its group or id."""
        if ref.split is not None:
            return ref
        fractions = self.fractions.as_dict() if self.fractions else {}
        return dataclasses.replace(ref, split=assign_split(ref.group or ref.id, fractions, self.seed))


@dataclasses.dataclass
class Tally:
    """What a plan needs to know of all refs; adds up in any order.

    Attributes:
      images: Split name to number of images.
      labels: The labels that occur.
    """

    images: Counter[str] = dataclasses.field(default_factory=Counter)
    labels: set[str] = dataclasses.field(default_factory=set)

    def add(self, ref: ImageRef) -> None:
        """Counts a ref that has a split."""
        assert ref.split is not None
        self.images[ref.split] += 1
        if ref.label is not None:
            self.labels.add(ref.label)

    def merge(self, other: Tally) -> None:
        """Adds what another tally has counted."""
        self.images.update(other.images)
        self.labels |= other.labels


@dataclasses.dataclass(frozen=True)
class DatasetPlan:
    """What will be written.

    Attributes:
      images: Split name to number of images, by name.
      shards: Split name to number of shards.
      vocabulary: Label to index.
    """

    images: Mapping[str, int]
    shards: Mapping[str, int]
    vocabulary: LabelVocabulary

    @cached_property
    def total(self) -> int:
        """Images in all splits."""
        return sum(self.images.values())

    def shard_names(self) -> Iterator[ShardName]:
        """Every shard, in the order of their names."""
        for split, count in self.shards.items():
            for index in range(count):
                yield ShardName(split, index, count)

    def shard_of(self, ref: ImageRef) -> ShardName:
        """The shard that a ref with a split belongs to."""
        assert ref.split is not None
        count = self.shards[ref.split]
        return ShardName(ref.split, shard_index(ref.id, count), count)

    def to_json(self) -> dict[str, Any]:
        return {
            "images": dict(self.images),
            "shards": dict(self.shards),
            "labels": len(self.vocabulary.names),
            "labels_digest": hashlib.sha256(canonical_json(list(self.vocabulary.names))).hexdigest(),
        }


def make_plan(
    tally: Tally,
    options: ShardOptions,
    vocabulary: LabelVocabulary | None,
    source: str,
    earlier_shards: Mapping[str, int] | None = None,
) -> DatasetPlan:
    """The plan for an input that has been counted.

    Args:
      tally: What was counted.
      options: How many shards, if the user says.
      vocabulary: The labels, if the user gave them; otherwise they are those that occur.
      source: The input, for the message when it is empty.
      earlier_shards: Split name to the number of shards that an earlier run at the target cut it into, to stay with.

    Raises:
      InputError: there is no image at all.
    """
    if not tally.images:
        raise InputError(f"Found no image in {source!r}; expected at least one.")
    splits = sorted(tally.images)
    earlier = earlier_shards or {}
    shards = {
        split: options.num_shards
        or earlier.get(split)
        or default_num_shards(tally.images[split], options.images_per_shard)
        for split in splits
    }
    images = {split: tally.images[split] for split in splits}
    return DatasetPlan(images, shards, vocabulary or LabelVocabulary.build(tally.labels))
