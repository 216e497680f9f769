"""How good a head is: pure functions of its probabilities and the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.records import Float32Array
from beam_job.heads.neighbours import nearest

# Rows whose probabilities for all classes are in memory at once.
BLOCK_ROWS = 1024
# The probability above which an example has a class, where it may have several.
SET_THRESHOLD = 0.5
CALIBRATION_BINS = 15  # of Guo et al., On Calibration of Modern Neural Networks, 2017

# The truth of N examples: int64 [N], the place of each one's class among C; or bool [N, C], where an example may have
# any number of classes; or float32 [N], its number. Only the second one needs memory for every pair of an example and a
# class.
Truth = npt.NDArray[Any]
Counts = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
      model: Which model.
      number: Which epoch, from 1.
      loss: On the training split, during the epoch.
      validation_loss: On the validation split, after it.
      measure: What the scores are: accuracy, in [0, 1], or the mean absolute error, in the unit of the numbers.
      score: On the training split, during the epoch.
      validation_score: On the validation split, after it.
    """

    model: str
    number: int
    loss: float
    validation_loss: float
    measure: str
    score: float
    validation_score: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good a head is on one split.

    Attributes:
      examples: Number of examples.
      accuracy: Share of the examples whose predicted labels are exactly the true ones.
      classes: Class name to its ``precision``, ``recall``, ``f1`` and ``examples``; None for a division by zero.
      confusion: A row for each pair of classes that occurs, ordered: true class, predicted class, number of examples;
        None when an example may have several classes.
      calibration_error: Expected calibration error, in [0, 1].
      calibration: A row per non-empty bin of confidence: mean confidence, share that is correct, number.
    """

    examples: int
    accuracy: float
    classes: dict[str, dict[str, Any]]
    confusion: list[tuple[int, int, int]] | None
    calibration_error: float
    calibration: list[tuple[float, float, int]]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as in metrics.json."""
        return dataclasses.asdict(self)

    @property
    def words(self) -> tuple[str, str]:
        """What matters most, and what comes after it."""
        return f"accuracy {self.accuracy:.1%}", f"calibration error {self.calibration_error:.3f}"


def evaluate(blocks: Iterable[Float32Array], truth: Truth, names: Sequence[str]) -> Evaluation:
    """Compares the probabilities of a head with the truth.

    Args:
      blocks: float32 [n, C] in [0, 1]: the probabilities of all examples, some at a time.
      truth: int64 [N] or bool [N, C].
      names: The classes' names, C of them.
    """
    return _evaluate_sets(blocks, truth, names) if truth.ndim == 2 else _evaluate_classes(blocks, truth, names)


def _evaluate_classes(blocks: Iterable[Float32Array], truth: Truth, names: Sequence[str]) -> Evaluation:
    decided, confidences = [], []
    for block in blocks:
        decided.append(block.argmax(1))
        confidences.append(block.max(1))
    predicted, confidence = np.concatenate(decided), np.concatenate(confidences)
    right = predicted == truth
    count = len(names)
    pairs, numbers = np.unique(truth * count + predicted, return_counts=True)
    confusion = [(int(pair) // count, int(pair) % count, int(n)) for pair, n in zip(pairs, numbers, strict=True)]
    hits, positive, true = (np.bincount(of, minlength=count) for of in (truth[right], predicted, truth))
    error, bins = _calibration_error(confidence, right)
    return Evaluation(len(right), _mean(right), _by_class(names, hits, positive, true), confusion, error, bins)


def _evaluate_sets(blocks: Iterable[Float32Array], truth: Truth, names: Sequence[str]) -> Evaluation:
    probabilities = np.concatenate(list(blocks))
    predicted = probabilities > SET_THRESHOLD
    right = (predicted == truth).all(1)
    hits, positive, true = (predicted & truth).sum(0), predicted.sum(0), truth.sum(0)
    confidence = np.maximum(probabilities, 1 - probabilities)
    error, bins = _calibration_error(confidence.ravel(), (predicted == truth).ravel())
    return Evaluation(len(right), _mean(right), _by_class(names, hits, positive, true), None, error, bins)


def _by_class(names: Sequence[str], hits: Counts, positive: Counts, true: Counts) -> dict[str, dict[str, Any]]:
    """Class to its figures, from the numbers of its examples that were found, predicted, and that there are."""
    return {
        name: {
            "precision": _ratio(hits[place], positive[place]),
            "recall": _ratio(hits[place], true[place]),
            "f1": _ratio(2 * hits[place], positive[place] + true[place]),
            "examples": int(true[place]),
        }
        for place, name in enumerate(names)
    }


def _calibration_error(
    confidence: npt.NDArray[Any], right: npt.NDArray[Any]
) -> tuple[float, list[tuple[float, float, int]]]:
    bins = calibration(confidence, right)
    return float(sum(abs(mean - share) * count for mean, share, count in bins) / max(1, len(right))), bins


def _mean(right: npt.NDArray[Any]) -> float:
    return float(right.mean()) if len(right) else 0.0


def calibration(confidence: npt.NDArray[Any], right: npt.NDArray[Any]) -> list[tuple[float, float, int]]:
    """Mean confidence, share that is correct and number, for each non-empty bin of equal width.

    >>> calibration(np.array([0.9, 0.9, 0.1]), np.array([True, False, False]))
    [(0.1, 0.0, 1), (0.9, 0.5, 2)]
    """
    places = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    chosen = (places == place for place in range(CALIBRATION_BINS))
    return [
        (float(confidence[rows].mean()), float(right[rows].mean()), int(rows.sum())) for rows in chosen if rows.any()
    ]


def nearest_neighbours(known: Float32Array, truth: Truth, asked: Float32Array, classes: int) -> Iterator[Float32Array]:
    """The baseline without training: the shares of the classes among the nearest features by cosine.

    Args:
      known: float32 [M, D], M at least 1.
      truth: int64 [M] or bool [M, C].
      asked: float32 [N, D].
      classes: C.

    Yields:
      float32 [n, C] in [0, 1], for some of the asked at a time, in their order.
    """
    near = nearest(asked, known)
    # A small weight for closeness, so that the nearest one breaks a tie.
    weights = 1 + np.float32(1e-3) * near.cosines
    for start in range(0, len(asked), BLOCK_ROWS):
        rows, weight = near.rows[start : start + BLOCK_ROWS], weights[start : start + BLOCK_ROWS]
        shares = np.zeros((len(rows), classes), np.float32)
        for place in range(rows.shape[1]):
            if truth.ndim == 2:
                shares += truth[rows[:, place]] * weight[:, place, np.newaxis]
            else:
                shares[np.arange(len(rows)), truth[rows[:, place]]] += weight[:, place]
        yield np.asarray(shares / weight.sum(1, keepdims=True), np.float32)


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
