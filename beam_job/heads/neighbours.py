"""The nearest features by cosine, within one set or in another one."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from beam_job.core.records import Float32Array

NEIGHBOURS = 5
_BLOCK_ROWS = 512


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each row by cosine, nearest first: int64 [N, K] and float32 [N, K]."""

    rows: npt.NDArray[np.int64]
    cosines: Float32Array


def nearest(queries: Float32Array, known: Float32Array | None = None) -> Neighbours:
    """The nearest known rows of each query row, at most ``NEIGHBOURS``.

    Args:
      queries: float32 [N, D].
      known: float32 [M, D], M at least 1; without it the queries themselves (N at least 2), where no row is its own
        neighbour.
    """
    unit_queries = _unit(queries)
    unit_known = unit_queries if known is None else _unit(known)
    count = min(NEIGHBOURS, len(unit_known) - (known is None))
    rows, cosines = np.zeros((len(queries), count), np.int64), np.zeros((len(queries), count), np.float32)
    for start in range(0, len(queries), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        closeness = unit_queries[block] @ unit_known.T
        if known is None:
            here = np.arange(len(closeness))
            closeness[here, here + start] = -np.inf
        found = np.argpartition(-closeness, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(closeness, found, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[block], cosines[block] = np.take_along_axis(found, order, 1), np.take_along_axis(values, order, 1)
    return Neighbours(rows, cosines)


def _unit(features: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
