"""Beam transforms that count examples before they are taken: wiring only, as in ``transforms``."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam

from beam_job.beam import blocks
from beam_job.core.records import PassedOver, Piece
from beam_job.extraction.folders import name_below
from beam_job.extraction.limits import ClassLimits, SmallestHashes
from beam_job.extraction.pieces import PieceWork, count_piece
from beam_job.extraction.policy import RefPolicy


@dataclasses.dataclass
class LimitClasses(beam.PTransform):  # type: ignore[misc]
    """Blocks of refs -> the same, with at most so many of each class in each split."""

    policy: RefPolicy
    limit: int

    def expand(self, refs: Any) -> Any:
        limits = refs | "Smallest hashes" >> beam.CombineGlobally(_LimitsFn(self.limit, name_below))
        # ClassLimits
        return refs | "Leave out the rest" >> beam.Map(
            _limited, self.policy, beam.pvalue.AsSingleton(limits)
        ).with_output_types(bytes)


@dataclasses.dataclass
class CountPieces(beam.PTransform):  # type: ignore[misc]
    """Numbered pieces -> one ClassLimits, for which all of them are read."""

    work: PieceWork

    def expand(self, pieces: Any) -> Any:
        return (
            pieces
            | "Count members" >> beam.Map(_count, self.work)
            # SmallestHashes
            | "Smallest hashes" >> beam.CombineGlobally(_LimitsFn(self.work.limit, self.work.policy.labels.name_below))
            # ClassLimits
        )


def _limited(block: bytes, policy: RefPolicy, limits: ClassLimits) -> bytes:
    refs, passed_over = blocks.unpack_all(block)
    limited = policy.with_limits(limits)
    before = (PassedOver(kind) for kind, count in passed_over.items() for _ in range(count))
    return blocks.pack(itertools.chain(map(limited.limited, refs), before))


def _count(numbered: tuple[int, Piece], work: PieceWork) -> SmallestHashes:
    return count_piece(work, numbered[1])


class _LimitsFn(beam.CombineFn):  # type: ignore[misc]
    """Blocks of refs, or what was counted of them -> ClassLimits."""

    def __init__(self, limit: int | None, name: Callable[[str, int], str | None]) -> None:
        self._limit, self._name = limit, name

    def create_accumulator(self) -> SmallestHashes:
        return SmallestHashes(self._limit)

    def add_input(self, found: SmallestHashes, element: bytes | SmallestHashes) -> SmallestHashes:
        if isinstance(element, SmallestHashes):
            found.merge(element)
        else:
            for ref in blocks.unpack(element):
                found.add(ref)
        return found

    def merge_accumulators(self, parts: Iterable[SmallestHashes]) -> SmallestHashes:
        total = self.create_accumulator()
        for part in parts:
            total.merge(part)
        return total

    def extract_output(self, found: SmallestHashes) -> ClassLimits:
        return found.limits(self._name)
