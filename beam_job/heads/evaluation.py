"""How good a head is: pure functions of its probabilities and the truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.records import Float32Array
from beam_job.heads.neighbours import nearest

CALIBRATION_BINS = 15  # of Guo et al., On Calibration of Modern Neural Networks, 2017

Truth = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch of training; accuracies in [0, 1]."""

    model: str
    number: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good a head is on one split.

    Attributes:
      examples: Number of examples.
      accuracy: Share of the examples whose predicted labels are exactly the true ones.
      classes: Class name to its ``precision``, ``recall``, ``f1`` and ``examples``; None for a division by zero.
      confusion: int [C, C], true class by predicted class; None when an example may have several.
      calibration_error: Expected calibration error, in [0, 1].
      calibration: A row per non-empty bin of confidence: mean confidence, share that is correct, number.
    """

    examples: int
    accuracy: float
    classes: dict[str, dict[str, Any]]
    confusion: list[list[int]] | None
    calibration_error: float
    calibration: list[tuple[float, float, int]]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as in metrics.json."""
        return dataclasses.asdict(self)


def evaluate(probabilities: Float32Array, truth: Truth, names: list[str], multi_label: bool) -> Evaluation:
    """Compares the probabilities of a head with the truth.

    Args:
      probabilities: float32 [N, C] in [0, 1].
      truth: bool [N, C].
      names: The classes' names, C of them.
      multi_label: Whether an example may have any number of classes, rather than one.
    """
    predicted = decide(probabilities, multi_label)
    hits, positive, true = (predicted & truth).sum(0), predicted.sum(0), truth.sum(0)
    classes = {
        name: {
            "precision": _ratio(hits[place], positive[place]),
            "recall": _ratio(hits[place], true[place]),
            "f1": _ratio(2 * hits[place], positive[place] + true[place]),
            "examples": int(true[place]),
        }
        for place, name in enumerate(names)
    }
    confusion = None if multi_label else (truth.T.astype(np.int64) @ predicted.astype(np.int64)).tolist()
    if multi_label:
        confidence, right = np.maximum(probabilities, 1 - probabilities).ravel(), (predicted == truth).ravel()
    else:
        confidence, right = probabilities.max(1), (predicted & truth).any(1)
    bins = calibration(confidence, right)
    error = sum(abs(mean - share) * count for mean, share, count in bins) / max(1, len(right))
    accuracy = float((predicted == truth).all(1).mean()) if len(truth) else 0.0
    return Evaluation(len(truth), accuracy, classes, confusion, float(error), bins)


def decide(probabilities: Float32Array, multi_label: bool) -> Truth:
    """The predicted classes, bool [N, C]: the most likely one, or all with a probability above 0.5."""
    if multi_label:
        return np.asarray(probabilities > 0.5)
    decided = np.zeros(probabilities.shape, np.bool_)
    decided[np.arange(len(probabilities)), probabilities.argmax(1)] = True
    return decided


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


def nearest_neighbours(known: Float32Array, truth: Truth, asked: Float32Array) -> Float32Array:
    """The baseline without training: the shares of the classes among the nearest features by cosine.

    Args:
      known: float32 [M, D], M at least 1.
      truth: bool [M, C].
      asked: float32 [N, D].

    Returns:
      float32 [N, C] in [0, 1].
    """
    near = nearest(asked, known)
    # A small weight for closeness, so that the nearest one breaks a tie.
    weights = 1 + np.float32(1e-3) * near.cosines
    shares = np.zeros((len(asked), truth.shape[1]), np.float32)
    for place in range(near.rows.shape[1]):
        shares += truth[near.rows[:, place]] * weights[:, place, np.newaxis]
    return np.asarray(shares / weights.sum(1, keepdims=True), np.float32)


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
