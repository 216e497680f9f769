"""From a dataset of features to a classifier head, its evaluation, and a model that takes examples.

splits in memory -> a linear probe and a head, with early stopping -> evaluation beside the nearest neighbours
-> HEAD/head.keras   the head alone, features in
   HEAD/saved_model  bytes of examples in, probabilities out
   HEAD/metrics.json, HEAD/*.png
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from beam_job.core.errors import InputError, OutputError
from beam_job.core.options import HeadOptions
from beam_job.core.records import Float32Array
from beam_job.core.sharding import SPLIT_SYNONYMS, assign_split
from beam_job.dataset.labels import NO_LABEL
from beam_job.dataset.reading import Dataset, FeatureTable
from beam_job.heads.evaluation import BLOCK_ROWS, Epoch, Evaluation, Truth, evaluate, nearest_neighbours
from beam_job.heads.plots import import_figure, write_plots
from beam_job.heads.serving import Agreement, compare_served, save_classifier
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_keras, keras_defaults

TRAIN, VALIDATION, TEST = "train", "validation", "test"
HEAD_FILE, MODEL_DIRECTORY, METRICS = "head.keras", "saved_model", "metrics.json"
# The share of the training split that is used for each split that the dataset does not have.
_HELD_OUT = 0.15
# By how much the validation loss must fall for an epoch to count as better.
_MIN_GAIN = 1e-3
# The smallest variance that a feature is normalised by, as a share of the mean of all variances.
_LEAST_VARIANCE = 0.1
# Keras' names of loss and metric, by the number of axes of the truth.
_METRICS = {1: "sparse_categorical", 2: "binary"}
# The files of a head by their paths in its directory, and what tells its metrics from other files of that name.
_FILE_OF_A_HEAD = re.compile(
    rf"{re.escape(HEAD_FILE)}|{re.escape(METRICS)}|(?:epochs|calibration|confusion)\.png|"
    rf"{MODEL_DIRECTORY}/(?:saved_model\.pb|fingerprint\.pb|variables/variables\.[^/]+|assets/[^/]+)"
)
_FIELDS_OF_METRICS = {"dataset", "model", "evaluations", "epochs"}
_PROBE, _HEAD, _NEIGHBOURS = "linear probe", "head", "nearest neighbours"


@dataclasses.dataclass(frozen=True)
class HeadResult:
    """The result of a training.

    Attributes:
      head: The directory of the head.
      classes: The classes' names.
      examples: Split name to the number of its examples with a label.
      unlabelled: Examples without a label, which were left out.
      unused: Split name to number of examples, for splits that are none of training, validation and test.
      epochs: Every epoch of the linear probe and of the head.
      evaluations: ``linear probe``, ``head`` and ``nearest neighbours`` to how good they are on the test split.
      seconds: Duration of the training, without reading and writing.
      input: The name of the served model's input.
      packages: What must be imported before it is loaded, beside TensorFlow.
      served: How the served model agrees with the head on a few examples.
    """

    head: str
    classes: list[str]
    examples: Mapping[str, int]
    unlabelled: int
    unused: Mapping[str, int]
    epochs: list[Epoch]
    evaluations: Mapping[str, Evaluation]
    seconds: float
    input: str = ""
    packages: tuple[str, ...] = ()
    served: Agreement | None = None

    @property
    def accuracy(self) -> float:
        """Accuracy of the head on the test split."""
        return self.evaluations[_HEAD].accuracy


class _Task(NamedTuple):
    """What there is to learn: the names of the classes, and split to features and truth."""

    names: list[str]
    tables: Mapping[str, FeatureTable]
    truths: Mapping[str, Truth]


def train_head(path: str, options: HeadOptions, watch: Callable[[Epoch], None] = lambda _: None) -> HeadResult:
    """Trains a head on a dataset and writes it.

    Args:
      path: The directory that ``extract`` wrote.
      options: How.
      watch: Called after each epoch.

    Raises:
      InputError: the dataset is not complete, or there is too little in it to learn from.
      OutputError: something else is where the head would go.
      UsageError: Matplotlib, which draws the plots at the end, is not installed.
    """
    import_figure()
    with keras_defaults():
        return _train(path, options, watch)


def _train(path: str, options: HeadOptions, watch: Callable[[Epoch], None]) -> HeadResult:
    target = options.head or f"{path.rstrip('/')}-head"
    _check_target(target)
    dataset = Dataset.open(path)
    tables, unlabelled = _splits(dataset, options)
    names, truths = _truths(dataset.labels, tables, options.multi_label)
    task = _Task(names, tables, truths)
    _check(path, task, options)
    import_keras().utils.set_random_seed(options.seed)
    start = time.monotonic()
    epochs: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        epochs.append(epoch)
        watch(epoch)

    widths = {_PROBE: 0, _HEAD: options.hidden}
    models = {name: _fit(name, width, task, options, note) for name, width in widths.items()}
    seconds = time.monotonic() - start
    evaluations = _evaluate(models, task)
    examples = {split: len(table.ids) for split, table in tables.items()}
    used = set(_names_of_splits(dataset).values())
    unused = {split: content["records"] for split, content in dataset.splits.items() if split not in used}
    result = HeadResult(target, names, examples, unlabelled, unused, epochs, evaluations, seconds)
    return _write(result, models[_HEAD], dataset, options, task)


def _check_target(target: str) -> None:
    """Checks that the head may be written where it is to go.

    Raises:
      OutputError: something else is there.
    """
    root = storage.absolute(target)
    if not any(True for _ in storage.list_files(root)):
        return
    try:
        metrics = json.loads(storage.read_bytes(storage.join(root, METRICS)))
    except (OSError, ValueError):
        metrics = None
    if not isinstance(metrics, dict) or not set(metrics) >= _FIELDS_OF_METRICS:
        raise OutputError(f"Expected --head to be an empty directory or a head, found something else at {target}.")


def _files_of_a_head(root: str) -> Iterator[str]:
    """The files of an earlier head in a directory: by their names, and not behind a link that leads out of it."""
    for info in storage.list_files(root):
        if _FILE_OF_A_HEAD.fullmatch(storage.relative(info.path, root)) and storage.is_below(info.path, root):
            yield info.path


def _truths(
    labels: Sequence[str], tables: Mapping[str, FeatureTable], separator: str | None
) -> tuple[list[str], dict[str, Truth]]:
    """The names of the classes that occur, and split to the truth of its examples."""
    found = np.unique(np.concatenate([table.labels for table in tables.values()]))
    places = {split: np.searchsorted(found, table.labels) for split, table in tables.items()}
    occurring = [labels[label] for label in found]
    if separator is None:
        return occurring, places
    parts = [[part for part in label.split(separator) if part] for label in occurring]
    names = sorted({part for of_label in parts for part in of_label})
    number = {name: place for place, name in enumerate(names)}
    of_labels = np.zeros((len(occurring), len(names)), np.bool_)
    for row, of_label in enumerate(parts):
        of_labels[row, [number[part] for part in of_label]] = True
    return names, {split: of_labels[rows] for split, rows in places.items()}


def _names_of_splits(dataset: Dataset) -> dict[str, str]:
    """Train, validation and test, those that the dataset has, to what it calls them."""
    found = {}
    for split, synonyms in SPLIT_SYNONYMS.items():
        name = next((name for name in synonyms if name in dataset.splits), None)
        if name is not None:
            found[split] = name
    return found


def _splits(dataset: Dataset, options: HeadOptions) -> tuple[dict[str, FeatureTable], int]:
    """Train, validation and test, those that the dataset lacks taken from the training split; and examples left out."""
    names = _names_of_splits(dataset)
    if TRAIN not in names:
        raise InputError(
            f"The dataset at {dataset.path} has no split {TRAIN!r} to train on (splits: {', '.join(dataset.splits)})"
        )
    tables, unlabelled = {}, 0
    for split, name in names.items():
        table = dataset.table(name, options.feature)
        labelled = table.labels != NO_LABEL
        unlabelled += int((~labelled).sum())
        tables[split] = table.where(labelled)
    missing = [split for split in (VALIDATION, TEST) if split not in tables]
    if missing:
        whole = tables[TRAIN]
        shares = {**dict.fromkeys(missing, _HELD_OUT), TRAIN: 1 - _HELD_OUT * len(missing)}
        found = np.array([assign_split(example_id, shares, options.seed) for example_id in whole.ids])
        tables |= {split: whole.where(found == split) for split in shares}
    return tables, unlabelled


def _check(path: str, task: _Task, options: HeadOptions) -> None:
    for split, truth in task.truths.items():
        if not len(truth):
            raise InputError(f"Expected labelled examples in the split {split!r} of {path}, found none; add examples.")
    known = task.truths[TRAIN]
    if (known.any(0).sum() if known.ndim == 2 else len(np.unique(known))) < 2:
        raise InputError(f"Expected examples of at least two classes to train on, found fewer in {path}.")
    if options.multi_label is not None and len(task.names) < 2:
        raise InputError(f"Expected labels of several parts joined by {options.multi_label!r}, found {task.names}.")


def _fit(name: str, hidden: int, task: _Task, options: HeadOptions, note: Callable[[Epoch], None]) -> Any:
    """A Keras model from features to probabilities, with the weights of its best epoch."""
    keras = import_keras()
    tables, truths = task.tables, task.truths
    known, metric = tables[TRAIN].features, _METRICS[truths[TRAIN].ndim]
    model = _new_model(name, hidden, known, len(task.names), options)

    def end_of_epoch(number: int, logs: Mapping[str, float]) -> None:
        found = {key.replace(f"{metric}_accuracy", "accuracy"): value for key, value in logs.items()}
        note(Epoch(name, number + 1, found["loss"], found["accuracy"], found["val_loss"], found["val_accuracy"]))

    model.fit(
        known,
        _as_target(truths[TRAIN]),
        batch_size=options.head_batch_size,
        epochs=options.epochs,
        validation_data=(tables[VALIDATION].features, _as_target(truths[VALIDATION])),
        sample_weight=_weights(truths[TRAIN]) if options.class_weights == "balanced" else None,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_loss", min_delta=_MIN_GAIN, patience=options.patience, restore_best_weights=True
            ),
            keras.callbacks.LambdaCallback(on_epoch_end=end_of_epoch),
        ],
        verbose=0,
    )
    return model


def _new_model(name: str, hidden: int, known: Float32Array, classes: int, options: HeadOptions) -> Any:
    """A Keras model with initial weights, that normalises features as ``known``, float32 [N, D], has them."""
    keras = import_keras()
    multi = options.multi_label is not None
    metric = _METRICS[2 if multi else 1]
    layers = [keras.layers.Dense(hidden, "relu", name="hidden")] if hidden else []
    model = keras.Sequential(
        [
            keras.layers.Input((known.shape[1],), name="feature"),
            keras.layers.Normalization(mean=known.mean(0), variance=spread(known), name="normalization"),
            *layers,
            keras.layers.Dense(classes, "sigmoid" if multi else "softmax", name="probabilities"),
        ],
        name=name.replace(" ", "_"),
    )
    model.compile(
        keras.optimizers.Adam(options.learning_rate),
        f"{metric}_crossentropy",
        metrics=[f"{metric}_accuracy"],
    )
    return model


def _as_target(truth: Truth) -> Any:
    """The truth as Keras' losses take it."""
    return truth.astype(np.float32) if truth.ndim == 2 else truth


def spread(features: Float32Array) -> Float32Array:
    """The variance that each feature is normalised by: its own, but not below a share of the mean of all.

    A feature that is constant in training, or nearly, and takes another value later would otherwise outweigh all
    others. docs/heads.md shows how the share was chosen.

    Args:
      features: float32 [N, D].

    Returns:
      float32 [D], above 0 unless all features are constant.
    """
    variance = features.var(0)
    return np.asarray(np.maximum(variance, _LEAST_VARIANCE * variance.mean()), np.float32)


def _evaluate(models: Mapping[str, Any], task: _Task) -> dict[str, Evaluation]:
    """How good the models and the nearest neighbours are on the test split."""
    test, truth, names = task.tables[TEST].features, task.truths[TEST], task.names

    def predicted(model: Any) -> Iterator[Float32Array]:
        for start in range(0, len(test), BLOCK_ROWS):
            yield np.asarray(model.predict_on_batch(test[start : start + BLOCK_ROWS]))

    found = {name: evaluate(predicted(model), truth, names) for name, model in models.items()}
    near = nearest_neighbours(task.tables[TRAIN].features, task.truths[TRAIN], test, len(names))
    return {**found, _NEIGHBOURS: evaluate(near, truth, names)}


def _weights(truth: Truth) -> Float32Array:
    """float32 [N]: weights with which all classes weigh the same, averaged over an example's classes; mean 1."""
    if truth.ndim == 1:
        each = len(truth) / np.bincount(truth)[truth]
        return np.asarray(each / each.mean(), np.float32)
    counts = truth.sum(0)
    of_class = len(truth) / np.maximum(1, counts)
    each = (truth * of_class).sum(1) / np.maximum(1, truth.sum(1))
    each[~truth.any(1)] = each[truth.any(1)].mean()
    return np.asarray(each / each.mean(), np.float32)


def _write(result: HeadResult, head: Any, dataset: Dataset, options: HeadOptions, task: _Task) -> HeadResult:
    target = storage.absolute(result.head)
    with tempfile.TemporaryDirectory() as folder:
        head.save(os.path.join(folder, HEAD_FILE))
        served = os.path.join(folder, MODEL_DIRECTORY)
        taken = save_classifier(served, dataset, head, result.classes, options.feature)
        agreement = compare_served(served, taken, dataset, task.tables.values(), head.predict_on_batch)
        result = dataclasses.replace(result, input=taken.name, packages=taken.packages, served=agreement)
        write_plots(folder, result.classes, result.epochs, result.evaluations[_HEAD])
        metrics = {
            "dataset": storage.absolute(dataset.path),
            "model": dataset.run["model"],
            "options": dataclasses.asdict(options),
            "classes": result.classes,
            "examples": dict(result.examples),
            "unlabelled": result.unlabelled,
            "unused": dict(result.unused),
            "seconds": round(result.seconds, 3),
            "served": dataclasses.asdict(agreement),
            "evaluations": {name: found.to_json() for name, found in result.evaluations.items()},
            "epochs": [dataclasses.asdict(epoch) for epoch in result.epochs],
        }
        with open(os.path.join(folder, METRICS), "w", encoding="utf-8") as file:
            json.dump(metrics, file, indent=1)
        storage.delete(list(_files_of_a_head(target)))
        storage.copy_from_local(folder, target, last=METRICS)
    return result
