"""What must be counted before examples are taken: the folders that all share, and the smallest hashes of each class."""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from beam_job.core.labels import names_in
from beam_job.core.records import ExampleRef
from beam_job.core.sharding import stable_hash
from beam_job.extraction.folders import name_below, shared_folders

_SALT = "limit"


@dataclasses.dataclass(frozen=True)
class ClassLimits:
    """What is known when all examples have been counted.

    Attributes:
      largest: Split and class to the largest hash of an id that is taken; of classes that are not there, all are.
        Examples without a label are a class.
      shared: The number of folders that all examples in folders of containers share.
    """

    largest: Mapping[tuple[str, str | None], int]
    shared: int

    def takes(self, ref: ExampleRef) -> bool:
        """Whether an example that has its split, and its label as in the dataset, is taken."""
        assert ref.split is not None
        assert ref.label is None or isinstance(ref.label, str)
        largest = self.largest.get((ref.split, ref.label))
        return largest is None or stable_hash(ref.id, _SALT) <= largest


class SmallestHashes:
    """The smallest hashes of the ids of each class, counted in any order and in any parts."""

    def __init__(self, limit: int | None) -> None:
        """Nothing yet.

        Args:
          limit: How many examples of a class are taken in each split; None if only the labels are of interest.
        """
        self._limit = limit
        # Heaps whose first item is the largest hash, negated.
        self._heaps: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)

    def add(self, ref: ExampleRef) -> None:
        """Counts an example that has its split and label, unless it will be an error row."""
        if ref.problem is not None:
            return
        assert ref.split is not None
        for label in names_in(ref.label) or (None,):
            self._push((ref.split, label), [-stable_hash(ref.id, _SALT)])

    def merge(self, other: SmallestHashes) -> None:
        """Adds what was counted elsewhere."""
        for key, heap in other._heaps.items():
            self._push(key, heap)

    def limits(self, name: Callable[[str, int], str | None] = name_below) -> ClassLimits:
        """What is known when all examples have been counted.

        Args:
          name: Gives the class in the dataset that a label stands for below so many shared folders; None for none.
        """
        shared = len(shared_folders(label for _, label in self._heaps if label is not None))
        if self._limit is None:
            return ClassLimits({}, shared)
        by_class = SmallestHashes(self._limit)
        for (split, label), heap in self._heaps.items():
            found = None if label is None else name(label, shared)
            if label is None or found is not None:
                by_class._push((split, found), heap)
        return ClassLimits({key: -heap[0] for key, heap in by_class._heaps.items()}, shared)

    def _push(self, key: tuple[str, str | None], negated: Iterable[int]) -> None:
        heap = self._heaps[key]
        for value in negated:
            if len(heap) < (self._limit or 1):
                heapq.heappush(heap, value)
            elif value > heap[0]:
                heapq.heapreplace(heap, value)
