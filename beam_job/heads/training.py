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
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from beam_job.core.errors import InputError, OutputError
from beam_job.core.options import HeadOptions
from beam_job.core.records import Float32Array
from beam_job.core.sharding import assign_split
from beam_job.dataset.labels import NO_LABEL
from beam_job.dataset.reading import Dataset, FeatureTable
from beam_job.heads.evaluation import Epoch, Evaluation, Truth, evaluate, nearest_neighbours
from beam_job.heads.plots import import_figure, write_plots
from beam_job.heads.serving import save_classifier
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_tensorflow

TRAIN, VALIDATION, TEST = "train", "validation", "test"
HEAD_FILE, MODEL_DIRECTORY, METRICS = "head.keras", "saved_model", "metrics.json"
# The share of the training split that is used for each split that the dataset does not have.
_HELD_OUT = 0.15
# By how much the validation loss must fall for an epoch to count as better.
_MIN_GAIN = 1e-3
_PREDICTED_AT_ONCE = 1024
_PROBE, _HEAD, _NEIGHBOURS = "linear probe", "head", "nearest neighbours"


@dataclasses.dataclass(frozen=True)
class HeadResult:
    """The result of a training.

    Attributes:
      head: The directory of the head.
      classes: The classes' names.
      examples: Split name to the number of its examples with a label.
      unlabelled: Examples without a label, which were left out.
      epochs: Every epoch of the linear probe and of the head.
      evaluations: ``linear probe``, ``head`` and ``nearest neighbours`` to how good they are on the test split.
      seconds: Duration of the training, without reading and writing.
      input: The name of the served model's input.
    """

    head: str
    classes: list[str]
    examples: Mapping[str, int]
    unlabelled: int
    epochs: list[Epoch]
    evaluations: Mapping[str, Evaluation]
    seconds: float
    input: str = ""

    @property
    def accuracy(self) -> float:
        """Accuracy of the head on the test split."""
        return self.evaluations[_HEAD].accuracy


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
    target = options.head or f"{path.rstrip('/')}-head"
    _check_target(target)
    dataset = Dataset.open(path)
    names, truth_of = _classes(dataset.labels, options.multi_label)
    tables, unlabelled = _splits(dataset, options)
    truths = {split: truth_of(table) for split, table in tables.items()}
    _check(path, truths, names, options)
    import_tensorflow().keras.utils.set_random_seed(options.seed)
    start = time.monotonic()
    epochs: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        epochs.append(epoch)
        watch(epoch)

    widths = {_PROBE: 0, _HEAD: options.hidden}
    models = {name: _fit(name, width, tables, truths, options, note) for name, width in widths.items()}
    seconds = time.monotonic() - start
    evaluations = _evaluate(models, tables, truths, names, options.multi_label is not None)
    examples = {split: len(table.ids) for split, table in tables.items()}
    result = HeadResult(target, names, examples, unlabelled, epochs, evaluations, seconds)
    return _write(result, models[_HEAD], dataset, options)


def _check_target(target: str) -> None:
    """Checks that the head may be written where it is to go.

    Raises:
      OutputError: something else is there.
    """
    exists = any(True for _ in storage.list_files(storage.absolute(target)))
    if exists and not storage.exists(storage.join(storage.absolute(target), METRICS)):
        raise OutputError(f"Expected --head to be an empty directory or a head, found something else at {target}.")


def _classes(labels: Sequence[str], separator: str | None) -> tuple[list[str], Callable[[FeatureTable], Truth]]:
    """The classes' names, and a function from a table to bool [N, C]: which example has which classes."""
    parts = [[label] if separator is None else label.split(separator) for label in labels]
    names = list(labels) if separator is None else sorted({part for found in parts for part in found if part})
    places = {name: place for place, name in enumerate(names)}
    of_label = np.zeros((len(labels), len(names)), np.bool_)
    for row, found in enumerate(parts):
        of_label[row, [places[part] for part in found if part]] = True

    def truth(table: FeatureTable) -> Truth:
        return of_label[table.labels]

    return names, truth


def _splits(dataset: Dataset, options: HeadOptions) -> tuple[dict[str, FeatureTable], int]:
    """Train, validation and test, those that the dataset lacks taken from the training split; and examples left out."""
    if TRAIN not in dataset.splits:
        raise InputError(
            f"The dataset at {dataset.path} has no split {TRAIN!r} to train on (splits: {', '.join(dataset.splits)})"
        )
    tables, unlabelled = {}, 0
    for split in (TRAIN, VALIDATION, TEST):
        if split in dataset.splits:
            table = dataset.table(split, options.feature)
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


def _check(path: str, truths: Mapping[str, Truth], names: list[str], options: HeadOptions) -> None:
    if truths[TRAIN].any(0).sum() < 2:
        raise InputError(f"Expected examples of at least two classes to train on, found fewer in {path}.")
    for split, truth in truths.items():
        if not len(truth):
            raise InputError(f"Expected labelled examples in the split {split!r} of {path}, found none; add examples.")
    if options.multi_label is not None and len(names) < 2:
        raise InputError(f"Expected labels of several parts joined by {options.multi_label!r}, found {names}.")


def _fit(
    name: str,
    hidden: int,
    tables: Mapping[str, FeatureTable],
    truths: Mapping[str, Truth],
    options: HeadOptions,
    note: Callable[[Epoch], None],
) -> Any:
    """A Keras model from features to probabilities, with the weights of its best epoch."""
    keras = import_tensorflow().keras
    known = tables[TRAIN].features
    model = _new_model(name, hidden, known, truths[TRAIN].shape[1], options)

    def end_of_epoch(number: int, logs: Mapping[str, float]) -> None:
        found = {key.replace("binary_", "").replace("categorical_", ""): value for key, value in logs.items()}
        note(Epoch(name, number + 1, found["loss"], found["accuracy"], found["val_loss"], found["val_accuracy"]))

    model.fit(
        known,
        truths[TRAIN].astype(np.float32),
        batch_size=options.head_batch_size,
        epochs=options.epochs,
        validation_data=(tables[VALIDATION].features, truths[VALIDATION].astype(np.float32)),
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
    keras = import_tensorflow().keras
    multi = options.multi_label is not None
    layers = [keras.layers.Dense(hidden, "relu", name="hidden")] if hidden else []
    model = keras.Sequential(
        [
            keras.layers.Input((known.shape[1],), name="feature"),
            keras.layers.Normalization(mean=known.mean(0), variance=known.var(0), name="normalization"),
            *layers,
            keras.layers.Dense(classes, "sigmoid" if multi else "softmax", name="probabilities"),
        ],
        name=name.replace(" ", "_"),
    )
    model.compile(
        keras.optimizers.Adam(options.learning_rate),
        "binary_crossentropy" if multi else "categorical_crossentropy",
        metrics=["binary_accuracy" if multi else "categorical_accuracy"],
    )
    return model


def _evaluate(
    models: Mapping[str, Any],
    tables: Mapping[str, FeatureTable],
    truths: Mapping[str, Truth],
    names: list[str],
    multi_label: bool,
) -> dict[str, Evaluation]:
    """How good the models and the nearest neighbours are on the test split."""
    test, truth = tables[TEST].features, truths[TEST]
    probabilities = {
        name: np.asarray(model.predict(test, batch_size=_PREDICTED_AT_ONCE, verbose=0))
        for name, model in models.items()
    }
    probabilities[_NEIGHBOURS] = nearest_neighbours(tables[TRAIN].features, truths[TRAIN], test)
    return {name: evaluate(found, truth, names, multi_label) for name, found in probabilities.items()}


def _weights(truth: Truth) -> Float32Array:
    """float32 [N]: weights with which all classes weigh the same, averaged over an example's classes; mean 1."""
    counts = truth.sum(0)
    of_class = len(truth) / np.maximum(1, counts)
    each = (truth * of_class).sum(1) / np.maximum(1, truth.sum(1))
    each[~truth.any(1)] = each[truth.any(1)].mean()
    return np.asarray(each / each.mean(), np.float32)


def _write(result: HeadResult, head: Any, dataset: Dataset, options: HeadOptions) -> HeadResult:
    target = storage.absolute(result.head)
    with tempfile.TemporaryDirectory() as folder:
        head.save(os.path.join(folder, HEAD_FILE))
        served = os.path.join(folder, MODEL_DIRECTORY)
        result = dataclasses.replace(
            result, input=save_classifier(served, dataset, head, result.classes, options.feature)
        )
        write_plots(folder, result.classes, result.epochs, result.evaluations[_HEAD])
        metrics = {
            "dataset": storage.absolute(dataset.path),
            "model": dataset.run["model"],
            "options": dataclasses.asdict(options),
            "classes": result.classes,
            "examples": dict(result.examples),
            "unlabelled": result.unlabelled,
            "seconds": round(result.seconds, 3),
            "evaluations": {name: found.to_json() for name, found in result.evaluations.items()},
            "epochs": [dataclasses.asdict(epoch) for epoch in result.epochs],
        }
        with open(os.path.join(folder, METRICS), "w", encoding="utf-8") as file:
            json.dump(metrics, file, indent=1)
        storage.delete(info.path for info in storage.list_files(target))
        storage.copy_from_local(folder, target, last=METRICS)
    return result
