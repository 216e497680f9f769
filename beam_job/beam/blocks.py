"""Blocks of refs: how refs travel between the steps of a pipeline.

A runner pays for every element that it moves, and a local runner holds everything that is grouped in memory. The refs
of a dataset are similar to each other, so a compressed block takes a tenth of the memory of the objects, and a million
refs are a few thousand elements.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from beam_job.core.records import ExampleRef, PassedOver

# Refs in a block as a source lists them.
BLOCK_REFS = 1024
# Refs that are held while they are grouped by a key; more make larger blocks, and take more memory.
_HELD_REFS = 16_384
_FASTEST = 1  # level of zlib

# dataclasses.astuple copies every value deeply, which for a million refs takes seconds.
_NAMES = [field.name for field in dataclasses.fields(ExampleRef)]
_fields = operator.attrgetter(*_NAMES)
# The fields that may be tuples, which JSON does not have.
_TUPLES = [_NAMES.index(name) for name in ("label", "kept", "box")]

K = TypeVar("K")


def pack(entries: Iterable[ExampleRef | PassedOver]) -> bytes:
    """A block of refs, with the number of files of each kind that were passed over between them.

    Its JSON is ASCII, so that names that are not UTF-8 are preserved.
    """
    rows: list[tuple[Any, ...]] = []
    passed_over: Counter[str] = Counter()
    for entry in entries:
        if isinstance(entry, PassedOver):
            passed_over[entry.kind] += 1
        else:
            rows.append(_fields(entry))
    return zlib.compress(json.dumps((rows, passed_over), separators=(",", ":")).encode("ascii"), _FASTEST)


def unpack(block: bytes) -> list[ExampleRef]:
    """The refs of a block, in order."""
    return unpack_all(block)[0]


def unpack_all(block: bytes) -> tuple[list[ExampleRef], dict[str, int]]:
    """The refs of a block, in order, and kind to number of the files that were passed over."""
    rows, passed_over = json.loads(zlib.decompress(block))
    for row in rows:
        for place in _TUPLES:
            if isinstance(row[place], list):
                row[place] = tuple(row[place])
    return [ExampleRef(*row) for row in rows], passed_over


class Grouper(Generic[K]):
    """Groups refs by a key into blocks, and holds a bounded number of refs."""

    def __init__(self, held_refs: int = _HELD_REFS) -> None:
        self._limit = held_refs
        self._held: defaultdict[K, list[ExampleRef]] = defaultdict(list)
        self._count = 0

    def add(self, refs: Iterable[ExampleRef], key: Callable[[ExampleRef], K]) -> Iterator[tuple[K, bytes]]:
        """Takes refs; yields keys and blocks when enough refs have accumulated."""
        for ref in refs:
            self._held[key(ref)].append(ref)
            self._count += 1
            if self._count >= self._limit:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[K, bytes]]:
        """Yields the refs that are still held."""
        held, self._held, self._count = self._held, defaultdict(list), 0
        return ((key, pack(refs)) for key, refs in held.items())
