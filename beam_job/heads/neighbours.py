"""The nearest features by cosine, among themselves or among others."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from beam_job.core.records import Float32Array

NEIGHBOURS = 5
_ROWS_AT_A_TIME = 512


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each row by cosine, nearest first: int64 [N, K] and float32 [N, K]."""

    rows: npt.NDArray[np.int64]
    cosines: Float32Array


def nearest(asked: Float32Array, known: Float32Array | None = None) -> Neighbours:
    """The nearest known rows of each row that is asked about, at most ``NEIGHBOURS``.

    Args:
      asked: float32 [N, D].
      known: float32 [M, D], M at least 1; without it the rows of ``asked`` (N at least 2), none its own neighbour.
    """
    unit_asked = _unit(asked)
    unit_known = unit_asked if known is None else _unit(known)
    count = min(NEIGHBOURS, len(unit_known) - (known is None))
    rows, cosines = np.zeros((len(asked), count), np.int64), np.zeros((len(asked), count), np.float32)
    for start in range(0, len(asked), _ROWS_AT_A_TIME):
        block = slice(start, start + _ROWS_AT_A_TIME)
        closeness = unit_asked[block] @ unit_known.T
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
