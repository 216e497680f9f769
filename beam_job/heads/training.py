"""From a dataset of features to a classifier head, with what it is worth, and a model that takes pictures.

splits in memory -> a linear probe and a head, stopped early -> evaluation beside the nearest neighbours
-> HEAD/head.keras   the head alone, features in
   HEAD/saved_model  pictures in, probabilities out
   HEAD/metrics.json, HEAD/*.png
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from beam_job.core.errors import InputError, OutputError
from beam_job.core.options import HeadOptions
from beam_job.core.records import Float32Array
from beam_job.core.sharding import assign_split
from beam_job.dataset.labels import NO_LABEL
from beam_job.dataset.reading import FeatureTable, feature_field, read_labels, read_run, read_table
from beam_job.heads.evaluation import Evaluation, Truth, evaluate, nearest_neighbours
from beam_job.heads.plots import import_figure, write_plots
from beam_job.heads.serving import save_image_classifier
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_tensorflow

TRAIN, VALIDATION, TEST = "train", "validation", "test"
HEAD_FILE, MODEL_DIRECTORY, METRICS = "head.keras", "saved_model", "metrics.json"
# What is cut from the training split for a split that the dataset does not have.
_CUT = 0.15
# Of the loss on the validation split, for a pass to count as better.
_LEAST_GAIN = 1e-3
_PROBE, _HEAD = "linear probe", "head"


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One pass over the training split; accuracies in [0, 1]."""

    model: str
    number: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclasses.dataclass(frozen=True)
class HeadResult:
    """What came of a training.

    Attributes:
      head: The directory that holds the head.
      classes: The classes' names.
      images: Split name to the number of its images with a label.
      unlabelled: Images without a label, which were left out.
      epochs: Every pass of the linear probe and of the head.
      evaluations: ``linear probe``, ``head`` and ``nearest neighbours`` to what they are worth on the test split.
      seconds: Of the training, without reading and writing.
    """

    head: str
    classes: list[str]
    images: Mapping[str, int]
    unlabelled: int
    epochs: list[Epoch]
    evaluations: Mapping[str, Evaluation]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Of the head, on images that it has not been trained on."""
        return self.evaluations[_HEAD].accuracy


def train_head(
    path: str, options: HeadOptions, watch: Callable[[Epoch], None] = lambda _: None, overwrite: bool = True
) -> HeadResult:
    """Trains a head on a dataset and writes it.

    Args:
      path: The directory that ``extract`` wrote.
      options: How.
      watch: Called after each pass over the training split.
      overwrite: Whether a head that is there is replaced.

    Raises:
      InputError: the dataset is not finished, or there is too little in it to learn from.
      OutputError: something else is where the head would go.
      UsageError: Matplotlib, which draws the plots at the end, is not installed.
    """
    import_figure()
    target = options.head or f"{path.rstrip('/')}-head"
    _check_target(target, overwrite)
    run = read_run(path)
    names, truth_of = _classes(read_labels(path), options.multi_label)
    tables, unlabelled = _splits(path, run, options)
    truths = {split: truth_of(table) for split, table in tables.items()}
    _check(path, truths, names, options)
    import_tensorflow().keras.utils.set_random_seed(options.seed)
    start = time.monotonic()
    fits = {_PROBE: 0, _HEAD: options.hidden}
    epochs: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        epochs.append(epoch)
        watch(epoch)

    models = {name: _fit(name, width, tables, truths, options, note) for name, width in fits.items()}
    seconds = time.monotonic() - start
    test, truth = tables[TEST].features, truths[TEST]
    multi = options.multi_label is not None
    said = {name: np.asarray(model.predict(test, batch_size=1024, verbose=0)) for name, model in models.items()}
    said["nearest neighbours"] = nearest_neighbours(tables[TRAIN].features, truths[TRAIN], test)
    evaluations = {name: evaluate(probabilities, truth, names, multi) for name, probabilities in said.items()}
    images = {split: len(table.ids) for split, table in tables.items()}
    result = HeadResult(target, names, images, unlabelled, epochs, evaluations, seconds)
    _write(result, models[_HEAD], path, run, options)
    return result


def _check_target(target: str, overwrite: bool) -> None:
    """Checks that the head may be written where it is to go.

    Raises:
      OutputError: something else is there.
    """
    there = any(True for _ in storage.list_files(storage.absolute(target)))
    if there and not (overwrite and storage.exists(storage.join(storage.absolute(target), METRICS))):
        raise OutputError(f"Expected --head to be an empty directory or a head, found something else at {target}.")


def _classes(labels: list[str], separator: str | None) -> tuple[list[str], Callable[[FeatureTable], Truth]]:
    """The classes' names, and what gives bool [N, C] for a table: which image has which classes."""
    parts = [[label] if separator is None else label.split(separator) for label in labels]
    names = labels if separator is None else sorted({part for found in parts for part in found if part})
    places = {name: place for place, name in enumerate(names)}
    of_label = np.zeros((len(labels), len(names)), np.bool_)
    for row, found in enumerate(parts):
        of_label[row, [places[part] for part in found if part]] = True

    def truth(table: FeatureTable) -> Truth:
        return of_label[table.labels]

    return names, truth


def _splits(path: str, run: dict[str, Any], options: HeadOptions) -> tuple[dict[str, FeatureTable], int]:
    """Train, validation and test, those that the dataset lacks cut from the training split; and images left out."""
    if TRAIN not in run["splits"]:
        raise InputError(
            f"The dataset at {path} has no split {TRAIN!r} to train on (splits: {', '.join(run['splits'])})"
        )
    feature_field(run, options.feature, path)
    tables, unlabelled = {}, 0
    for split in (TRAIN, VALIDATION, TEST):
        if split in run["splits"]:
            table = read_table(path, split, options.feature)
            labelled = table.labels != NO_LABEL
            unlabelled += int((~labelled).sum())
            tables[split] = table.where(labelled)
    missing = [split for split in (VALIDATION, TEST) if split not in tables]
    if missing:
        whole = tables[TRAIN]
        shares = {**dict.fromkeys(missing, _CUT), TRAIN: 1 - _CUT * len(missing)}
        found = np.array([assign_split(image_id, shares, options.seed) for image_id in whole.ids])
        tables |= {split: whole.where(found == split) for split in shares}
    return tables, unlabelled


def _check(path: str, truths: Mapping[str, Truth], names: list[str], options: HeadOptions) -> None:
    if truths[TRAIN].any(0).sum() < 2:
        raise InputError(f"Expected images of at least two classes to train on, found fewer in {path}.")
    for split, truth in truths.items():
        if not len(truth):
            raise InputError(f"Expected images with a label in the split {split!r} of {path}, found none; add images.")
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
    """A Keras model from features to probabilities, as it was after its best pass."""
    keras = import_tensorflow().keras
    known, classes = tables[TRAIN].features, truths[TRAIN].shape[1]
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
                "val_loss", min_delta=_LEAST_GAIN, patience=options.patience, restore_best_weights=True
            ),
            keras.callbacks.LambdaCallback(on_epoch_end=end_of_epoch),
        ],
        verbose=0,
    )
    return model


def _weights(truth: Truth) -> Float32Array:
    """float32 [N]: the mean over an image's classes of what makes all classes weigh the same; 1 on average."""
    counts = truth.sum(0)
    of_class = len(truth) / np.maximum(1, counts)
    each = (truth * of_class).sum(1) / np.maximum(1, truth.sum(1))
    each[~truth.any(1)] = each[truth.any(1)].mean()
    return np.asarray(each / each.mean(), np.float32)


def _write(result: HeadResult, head: Any, path: str, run: dict[str, Any], options: HeadOptions) -> None:
    target = storage.absolute(result.head)
    with tempfile.TemporaryDirectory() as folder:
        head.save(os.path.join(folder, HEAD_FILE))
        save_image_classifier(os.path.join(folder, MODEL_DIRECTORY), run, head, result.classes, options.feature)
        write_plots(folder, result.classes, result.epochs, result.evaluations[_HEAD])
        metrics = {
            "dataset": storage.absolute(path),
            "model": run["model"],
            "options": dataclasses.asdict(options),
            "classes": result.classes,
            "images": dict(result.images),
            "unlabelled": result.unlabelled,
            "seconds": round(result.seconds, 3),
            "evaluations": {name: found.to_json() for name, found in result.evaluations.items()},
            "epochs": [dataclasses.asdict(epoch) for epoch in result.epochs],
        }
        with open(os.path.join(folder, METRICS), "w", encoding="utf-8") as file:
            json.dump(metrics, file, indent=1)
        storage.delete(info.path for info in storage.list_files(target))
        storage.copy_from_local(folder, target, last=METRICS)
