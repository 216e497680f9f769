"""How well a head predicts numbers: pure functions of its answers and the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from beam_job.core.records import Float32Array
from beam_job.heads.evaluation import BLOCK_ROWS
from beam_job.heads.neighbours import nearest

# Examples of which the plot has a point.
_POINTS = 1000


@dataclasses.dataclass(frozen=True)
class NumberEvaluation:
    """How well a head predicts the numbers of one split.

    Attributes:
      examples: Number of examples.
      mean_absolute_error: In the unit of the numbers.
      r2: The coefficient of determination: 1 for a perfect head, 0 for one that always says the mean of the split; None
        if all numbers are equal.
      points: True and predicted number of the first examples.
    """

    examples: int
    mean_absolute_error: float
    r2: float | None
    points: list[tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as in metrics.json."""
        return dataclasses.asdict(self)

    @property
    def words(self) -> tuple[str, str]:
        """What matters most, and what comes after it."""
        return (
            f"mean absolute error {self.mean_absolute_error:.4g}",
            f"R2 {'-' if self.r2 is None else f'{self.r2:.3f}'}",
        )


def evaluate_numbers(blocks: Iterable[Float32Array], truth: Float32Array) -> NumberEvaluation:
    """Compares the answers of a head with the truth.

    Args:
      blocks: float32 [n, 1]: the answers for all examples, some at a time.
      truth: float32 [N], N at least 1.
    """
    predicted = np.concatenate(list(blocks))[:, 0].astype(np.float64)
    exact = truth.astype(np.float64)
    residual, spread = ((exact - predicted) ** 2).sum(), ((exact - exact.mean()) ** 2).sum()
    points = list(zip(truth[:_POINTS].tolist(), predicted[:_POINTS].tolist(), strict=True))
    r2 = float(1 - residual / spread) if spread else None
    return NumberEvaluation(len(truth), float(abs(exact - predicted).mean()), r2, points)


def nearest_numbers(known: Float32Array, truth: Float32Array, asked: Float32Array) -> Iterator[Float32Array]:
    """The baseline without training: the mean of the numbers of the nearest features by cosine.

    Args:
      known: float32 [M, D], M at least 1.
      truth: float32 [M].
      asked: float32 [N, D].

    Yields:
      float32 [n, 1], for some of the asked at a time, in their order.
    """
    near = nearest(asked, known)
    for start in range(0, len(asked), BLOCK_ROWS):
        yield truth[near.rows[start : start + BLOCK_ROWS]].mean(1, keepdims=True)
