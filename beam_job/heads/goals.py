"""What a head learns: the one class of an example, its classes, or its number."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from beam_job.core.labels import LabelKind
from beam_job.core.records import Float32Array
from beam_job.dataset.reading import Dataset, FeatureTable
from beam_job.heads.evaluation import Evaluation, Truth, evaluate, nearest_neighbours
from beam_job.heads.regression import NumberEvaluation, evaluate_numbers, nearest_numbers
from beam_job.runtime.tensorflow import import_keras

AnyEvaluation = Evaluation | NumberEvaluation
TRAIN = "train"


class Goal(abc.ABC):
    """What there is to learn, as Keras learns it.

    Attributes:
      output: What the answers of the served model are called.
      activation: That of the last layer.
      loss: Keras' name of the loss.
      metric: Keras' name of the metric that is shown with it.
      measure: What people call that metric.
      names: The names of the classes; none for numbers.
      truths: Split to the truth of its examples.
    """

    output: ClassVar[str] = "probabilities"
    activation: ClassVar[str]
    loss: ClassVar[str]
    metric: ClassVar[str]
    measure: ClassVar[str] = "accuracy"

    def __init__(self, names: Sequence[str], truths: Mapping[str, Truth]) -> None:
        self.names, self.truths = list(names), truths

    @property
    def width(self) -> int:
        """How many values the head answers with."""
        return len(self.names)

    @property
    @abc.abstractmethod
    def problem(self) -> str | None:
        """What is missing in the training split to learn from, or None."""

    def as_target(self, truth: Truth) -> Any:
        """The truth as Keras' loss takes it."""
        return truth

    def balanced(self, truth: Truth) -> Float32Array | None:
        """float32 [N], mean 1: weights of examples with which all classes weigh the same; None where there are none."""
        return None

    def score(self, found: float) -> float:
        """The metric of an epoch in the unit of the truth."""
        return found

    def finished(self, model: Any) -> Any:
        """A trained Keras model, as it answers its user."""
        return model

    @abc.abstractmethod
    def evaluate(self, blocks: Iterable[Float32Array], truth: Truth) -> AnyEvaluation:
        """Compares answers, float32 [n, width] for some examples at a time, with the truth."""

    @abc.abstractmethod
    def neighbours(self, known: Float32Array, asked: Float32Array) -> Iterator[Float32Array]:
        """The answers of the nearest features of the training split, ``known``; as :meth:`evaluate` takes them."""


class OneClass(Goal):
    """An example has one class; the truth is int64 [N]."""

    activation, loss, metric = "softmax", "sparse_categorical_crossentropy", "sparse_categorical_accuracy"

    @property
    def problem(self) -> str | None:
        return None if len(np.unique(self.truths[TRAIN])) > 1 else "examples of at least two classes"

    def balanced(self, truth: Truth) -> Float32Array:
        each = len(truth) / np.bincount(truth)[truth]
        return np.asarray(each / each.mean(), np.float32)

    def evaluate(self, blocks: Iterable[Float32Array], truth: Truth) -> Evaluation:
        return evaluate(blocks, truth, self.names)

    def neighbours(self, known: Float32Array, asked: Float32Array) -> Iterator[Float32Array]:
        return nearest_neighbours(known, self.truths[TRAIN], asked, len(self.names))


class ManyClasses(OneClass):
    """An example has any number of classes; the truth is bool [N, C]."""

    activation, loss, metric = "sigmoid", "binary_crossentropy", "binary_accuracy"

    @property
    def problem(self) -> str | None:
        return None if self.truths[TRAIN].any(0).sum() > 1 else "examples of at least two classes"

    def as_target(self, truth: Truth) -> Any:
        return truth.astype(np.float32)

    def balanced(self, truth: Truth) -> Float32Array:
        """Averaged over the classes of an example."""
        of_class = len(truth) / np.maximum(1, truth.sum(0))
        each = (truth * of_class).sum(1) / np.maximum(1, truth.sum(1))
        each[~truth.any(1)] = each[truth.any(1)].mean()
        return np.asarray(each / each.mean(), np.float32)


class Number(Goal):
    """An example has a number; the truth is float32 [N]. What is learnt is scaled to mean 0 and deviation 1."""

    output = "target"
    activation, loss, metric, measure = "linear", "mean_squared_error", "mean_absolute_error", "mean absolute error"

    def __init__(self, truths: Mapping[str, Truth]) -> None:
        super().__init__((), truths)
        known = truths[TRAIN].astype(np.float64)
        self._mean = float(known.mean()) if len(known) else 0.0
        self._deviation = float(known.std()) if len(known) else 0.0

    @property
    def width(self) -> int:
        return 1

    @property
    def problem(self) -> str | None:
        return None if self._deviation > 0 else "different numbers"

    def as_target(self, truth: Truth) -> Any:
        return ((truth - self._mean) / self._deviation).astype(np.float32)

    def score(self, found: float) -> float:
        return found * self._deviation

    def finished(self, model: Any) -> Any:
        keras = import_keras()
        scale = keras.layers.Rescaling(self._deviation, self._mean, name=self.output)
        taken = keras.layers.Input(model.input_shape[1:], name="feature")
        return keras.Sequential([taken, *model.layers, scale], name=model.name)

    def evaluate(self, blocks: Iterable[Float32Array], truth: Truth) -> NumberEvaluation:
        return evaluate_numbers(blocks, truth)

    def neighbours(self, known: Float32Array, asked: Float32Array) -> Iterator[Float32Array]:
        return nearest_numbers(known, self.truths[TRAIN], asked)


def goal_of(dataset: Dataset, tables: Mapping[str, FeatureTable], separator: str | None) -> Goal:
    """What there is to learn in a dataset.

    Args:
      dataset: The dataset.
      tables: Its splits, without examples that have no label.
      separator: What joins the names of several classes in one label, if an example has several in that way.
    """
    kind, labels = dataset.schema.label_kind, dataset.labels
    if kind is LabelKind.TARGET:
        return Number({split: table.labels for split, table in tables.items()})
    if kind is LabelKind.MULTI:
        occurs = np.any([table.labels.any(0) for table in tables.values()], axis=0)
        names = [name for name, is_there in zip(labels, occurs, strict=True) if is_there]
        return ManyClasses(names, {split: table.labels[:, occurs] for split, table in tables.items()})
    found = np.unique(np.concatenate([table.labels for table in tables.values()]))
    places = {split: np.searchsorted(found, table.labels) for split, table in tables.items()}
    occurring = [labels[label] for label in found]
    if separator is None:
        return OneClass(occurring, places)
    parts = [[part for part in label.split(separator) if part] for label in occurring]
    names = sorted({part for of_label in parts for part in of_label})
    number = {name: place for place, name in enumerate(names)}
    of_labels = np.zeros((len(occurring), len(names)), np.bool_)
    for row, of_label in enumerate(parts):
        of_labels[row, [number[part] for part in of_label]] = True
    return ManyClasses(names, {split: of_labels[rows] for split, rows in places.items()})
