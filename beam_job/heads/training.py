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
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from beam_job.core.errors import InputError, OutputError, UsageError
from beam_job.core.labels import LabelKind
from beam_job.core.options import HeadOptions
from beam_job.core.records import Float32Array
from beam_job.core.sharding import SPLIT_SYNONYMS, assign_split
from beam_job.dataset.reading import Dataset, FeatureTable
from beam_job.heads.evaluation import BLOCK_ROWS, Epoch, Evaluation
from beam_job.heads.goals import TRAIN, AnyEvaluation, Goal, goal_of
from beam_job.heads.plots import import_figure, write_plots
from beam_job.heads.serving import Agreement, compare_served, save_head
from beam_job.runtime import storage
from beam_job.runtime.tensorflow import import_keras, keras_defaults

VALIDATION, TEST = "validation", "test"
HEAD_FILE, MODEL_DIRECTORY, METRICS = "head.keras", "saved_model", "metrics.json"
# The share of the training split that is used for each split that the dataset does not have.
_HELD_OUT = 0.15
# By how much the validation loss must fall for an epoch to count as better.
_MIN_GAIN = 1e-3
# The smallest variance that a feature is normalised by, as a share of the mean of all variances.
_LEAST_VARIANCE = 0.1
# The files of a head by their paths in its directory, and what tells its metrics from other files of that name.
_FILE_OF_A_HEAD = re.compile(
    rf"{re.escape(HEAD_FILE)}|{re.escape(METRICS)}|(?:epochs|calibration|confusion|targets)\.png|"
    rf"{MODEL_DIRECTORY}/(?:saved_model\.pb|fingerprint\.pb|variables/variables\.[^/]+|assets/[^/]+)"
)
_FIELDS_OF_METRICS = {"dataset", "model", "evaluations", "epochs"}
_PROBE, _HEAD, _NEIGHBOURS = "linear probe", "head", "nearest neighbours"


@dataclasses.dataclass(frozen=True)
class HeadResult:
    """The result of a training.

    Attributes:
      head: The directory of the head.
      classes: The classes' names; none where the head predicts numbers.
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
    evaluations: Mapping[str, AnyEvaluation]
    seconds: float
    input: str = ""
    packages: tuple[str, ...] = ()
    served: Agreement | None = None

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the head on the test split; None where it predicts numbers."""
        found = self.evaluations[_HEAD]
        return found.accuracy if isinstance(found, Evaluation) else None


class _Task(NamedTuple):
    """What there is to learn, and split to features."""

    goal: Goal
    tables: Mapping[str, FeatureTable]


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
    _check_separator(dataset, options)
    goal = goal_of(dataset, tables, options.multi_label)
    task = _Task(goal, tables)
    _check(path, goal, options)
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
    result = HeadResult(target, goal.names, examples, unlabelled, unused, epochs, evaluations, seconds)
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


def _check_separator(dataset: Dataset, options: HeadOptions) -> None:
    kind = dataset.schema.label_kind
    if options.multi_label is not None and kind is not LabelKind.CLASS:
        raise UsageError(
            f"--multi_label is for labels that are joined in one text; {dataset.path} has them as {kind.field}."
        )


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
        unlabelled += int((~table.labelled).sum())
        tables[split] = table.where(table.labelled)
    missing = [split for split in (VALIDATION, TEST) if split not in tables]
    if missing:
        whole = tables[TRAIN]
        shares = {**dict.fromkeys(missing, _HELD_OUT), TRAIN: 1 - _HELD_OUT * len(missing)}
        found = np.array([assign_split(example_id, shares, options.seed) for example_id in whole.ids])
        tables |= {split: whole.where(found == split) for split in shares}
    return tables, unlabelled


def _check(path: str, goal: Goal, options: HeadOptions) -> None:
    for split, truth in goal.truths.items():
        if not len(truth):
            raise InputError(f"Expected labelled examples in the split {split!r} of {path}, found none; add examples.")
    if goal.problem:
        raise InputError(f"Expected {goal.problem} to train on, found fewer in {path}.")
    if options.multi_label is not None and len(goal.names) < 2:
        raise InputError(f"Expected labels of several parts joined by {options.multi_label!r}, found {goal.names}.")


def _fit(name: str, hidden: int, task: _Task, options: HeadOptions, note: Callable[[Epoch], None]) -> Any:
    """A Keras model from features to answers, with the weights of its best epoch."""
    keras = import_keras()
    goal, tables, truths = task.goal, task.tables, task.goal.truths
    known = tables[TRAIN].features
    model = _new_model(name, hidden, known, goal, options)

    def end_of_epoch(number: int, logs: Mapping[str, float]) -> None:
        score, validation_score = (goal.score(logs[f"{prefix}{goal.metric}"]) for prefix in ("", "val_"))
        note(Epoch(name, number + 1, logs["loss"], logs["val_loss"], goal.measure, score, validation_score))

    model.fit(
        known,
        goal.as_target(truths[TRAIN]),
        batch_size=options.head_batch_size,
        epochs=options.epochs,
        validation_data=(tables[VALIDATION].features, goal.as_target(truths[VALIDATION])),
        sample_weight=goal.balanced(truths[TRAIN]) if options.class_weights == "balanced" else None,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_loss", min_delta=_MIN_GAIN, patience=options.patience, restore_best_weights=True
            ),
            keras.callbacks.LambdaCallback(on_epoch_end=end_of_epoch),
        ],
        verbose=0,
    )
    return goal.finished(model)


def _new_model(name: str, hidden: int, known: Float32Array, goal: Goal, options: HeadOptions) -> Any:
    """A Keras model with initial weights, that normalises features as ``known``, float32 [N, D], has them."""
    keras = import_keras()
    layers = [keras.layers.Dense(hidden, "relu", name="hidden")] if hidden else []
    model = keras.Sequential(
        [
            keras.layers.Input((known.shape[1],), name="feature"),
            keras.layers.Normalization(mean=known.mean(0), variance=spread(known), name="normalization"),
            *layers,
            keras.layers.Dense(goal.width, goal.activation, name="answers"),
        ],
        name=name.replace(" ", "_"),
    )
    model.compile(keras.optimizers.Adam(options.learning_rate), goal.loss, metrics=[goal.metric])
    return model


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


def _evaluate(models: Mapping[str, Any], task: _Task) -> dict[str, AnyEvaluation]:
    """How good the models and the nearest neighbours are on the test split."""
    goal, test = task.goal, task.tables[TEST].features
    truth = goal.truths[TEST]

    def predicted(model: Any) -> Iterator[Float32Array]:
        for start in range(0, len(test), BLOCK_ROWS):
            yield np.asarray(model.predict_on_batch(test[start : start + BLOCK_ROWS]))

    found = {name: goal.evaluate(predicted(model), truth) for name, model in models.items()}
    near = goal.neighbours(task.tables[TRAIN].features, test)
    return {**found, _NEIGHBOURS: goal.evaluate(near, truth)}


def _write(result: HeadResult, head: Any, dataset: Dataset, options: HeadOptions, task: _Task) -> HeadResult:
    target = storage.absolute(result.head)
    with tempfile.TemporaryDirectory() as folder:
        head.save(os.path.join(folder, HEAD_FILE))
        served = os.path.join(folder, MODEL_DIRECTORY)
        taken = save_head(served, dataset, head, task.goal, options.feature)
        agreement = compare_served(served, taken, dataset, task.tables.values(), head.predict_on_batch)
        result = dataclasses.replace(result, input=taken.input, packages=taken.packages, served=agreement)
        write_plots(folder, result.classes, result.epochs, result.evaluations[_HEAD])
        metrics = {
            "dataset": storage.absolute(dataset.path),
            "model": dataset.run["model"],
            "options": dataclasses.asdict(options),
            "label_type": dataset.schema.label_kind.value,
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
