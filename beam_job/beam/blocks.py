"""Refs by the block: how they travel between the steps of a pipeline.

A runner pays for every element that it moves, and a local one holds in memory all that is grouped. The refs of a data
set are much alike, so a compressed block of them takes a tenth of what they take as objects, and a million of them are
a few thousand elements.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from beam_job.core.records import ImageRef

# Refs in a block as a source lists them.
BLOCK_REFS = 1024
# Refs held back while they are sorted into blocks by a key; more make larger blocks, and take more memory.
_HELD_REFS = 16_384
_QUICK = 1  # zlib's quickest level

K = TypeVar("K")


def pack(refs: Iterable[ImageRef]) -> bytes:
    """A block of refs; their JSON is ASCII, so that names which are not UTF-8 pass."""
    rows = [(ref.id, ref.uri, ref.label, ref.split, ref.group, ref.version, ref.problem) for ref in refs]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"), _QUICK)


def unpack(block: bytes) -> list[ImageRef]:
    """The refs of a block, in order."""
    return [ImageRef(*row) for row in json.loads(zlib.decompress(block))]


class Sorter(Generic[K]):
    """Sorts refs into blocks of those that have a key in common, a bounded number of refs at a time."""

    def __init__(self, held_refs: int = _HELD_REFS) -> None:
        self._limit = held_refs
        self._held: defaultdict[K, list[ImageRef]] = defaultdict(list)
        self._count = 0

    def add(self, refs: Iterable[ImageRef], key: Callable[[ImageRef], K]) -> Iterator[tuple[K, bytes]]:
        """Takes refs; yields keys and blocks when enough refs have come together."""
        for ref in refs:
            self._held[key(ref)].append(ref)
            self._count += 1
            if self._count >= self._limit:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[K, bytes]]:
        """Yields whatever is held."""
        held, self._held, self._count = self._held, defaultdict(list), 0
        return ((key, pack(refs)) for key, refs in held.items())
