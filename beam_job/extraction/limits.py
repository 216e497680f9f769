"""At most so many examples of each class in a split: those whose ids have the smallest hashes."""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping

from beam_job.core.labels import Label
from beam_job.core.records import ExampleRef
from beam_job.core.sharding import stable_hash
from beam_job.extraction.folders import name_below, shared_folders

_SALT = "limit"


@dataclasses.dataclass(frozen=True)
class ClassLimits:
    """Which examples of each class are taken.

    Attributes:
      largest: Split and class to the largest hash of an id that is taken; examples without a label are a class.
      shared: The number of folders that all examples in folders of containers share.
    """

    largest: Mapping[tuple[str, str | None], int]
    shared: int

    def name_of(self, label: Label) -> str | None:
        """The class that a label stands for; None for no label."""
        return name_below(label, self.shared) if isinstance(label, str) else None

    def takes(self, ref: ExampleRef) -> bool:
        """Whether an example that has its split and label is taken; of a class that was not counted, all are."""
        assert ref.split is not None
        largest = self.largest.get((ref.split, self.name_of(ref.label)))
        return largest is None or stable_hash(ref.id, _SALT) <= largest


class SmallestHashes:
    """The smallest hashes of the ids of each class, counted in any order and in any parts."""

    def __init__(self, limit: int) -> None:
        """Nothing yet.

        Args:
          limit: How many examples of a class are taken in each split.
        """
        self._limit = limit
        # Heaps whose first item is the largest hash, negated.
        self._heaps: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)

    def add(self, ref: ExampleRef) -> None:
        """Counts an example that has its split and label, unless it will be an error row."""
        if ref.problem is not None:
            return
        assert ref.split is not None
        assert ref.label is None or isinstance(ref.label, str)
        self._push((ref.split, ref.label), [-stable_hash(ref.id, _SALT)])

    def merge(self, other: SmallestHashes) -> None:
        """Adds what was counted elsewhere."""
        for key, heap in other._heaps.items():
            self._push(key, heap)

    def limits(self) -> ClassLimits:
        """What is taken, when all examples have been counted."""
        shared = len(shared_folders(label for _, label in self._heaps if label is not None))
        by_class = SmallestHashes(self._limit)
        for (split, label), heap in self._heaps.items():
            by_class._push((split, name_below(label, shared) if label is not None else None), heap)
        return ClassLimits({key: -heap[0] for key, heap in by_class._heaps.items()}, shared)

    def _push(self, key: tuple[str, str | None], negated: Iterable[int]) -> None:
        heap = self._heaps[key]
        for value in negated:
            if len(heap) < self._limit:
                heapq.heappush(heap, value)
            elif value > heap[0]:
                heapq.heapreplace(heap, value)
