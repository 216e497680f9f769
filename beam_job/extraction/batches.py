"""From a batch of contents to its outcomes: decodes what can be decoded, and runs the model on it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ExampleError, ModelError, ModelRejectedError
from beam_job.core.labels import StoredLabel
from beam_job.core.metrics import StageTimes
from beam_job.core.records import ErrorRow, ExampleRef, FeatureRecord, Float32Array, Shape
from beam_job.dataset.labels import Labels
from beam_job.engines.base import Engine
from beam_job.extraction.arranging import Task
from beam_job.models.pooling import joined
from beam_job.models.spec import ModelSpec
from beam_job.runtime.threadmap import batched

Outcome = FeatureRecord | ErrorRow
Features = Mapping[str, Float32Array]

_NOT_FINITE = "expected finite features, found NaN or infinity"
_NO_FRAMES = "the model gave no frame for the example, which may be too short for it"


def process_batch(
    batch: Sequence[Task],
    model: ModelSpec,
    engine: Engine,
    batch_size: int,
    vocabulary: Labels,
    times: StageTimes,
) -> list[tuple[int, Outcome]]:
    """An outcome for each example of a batch, with the example's place in its shard.

    Args:
      batch: The contents, or error rows for them, with the examples that they belong to.
      model: Which model; its modality decodes.
      engine: Runs the model.
      batch_size: The largest batch that the engine takes.
      vocabulary: Label to index.
      times: Gets the seconds of each stage.
    """
    outcomes: list[tuple[int, Outcome]] = []
    decoded: list[list[tuple[int, ExampleRef, StoredLabel]]] = []
    examples: list[npt.NDArray[Any]] = []
    with times.measure("decode"):
        for task in batch:
            labelled, failed = _labelled(task, vocabulary)
            outcomes.extend(failed)
            if isinstance(task.content, bytes) and labelled:
                try:
                    examples.append(_prepared(task.content, labelled[0][1], model))
                except ExampleError as error:
                    outcomes.extend((place, ErrorRow.of(ref, error)) for place, ref, _ in labelled)
                else:
                    decoded.append(labelled)
    with times.measure("model"):
        answers = run_model(examples, model, engine, batch_size)
    for labelled, answer in zip(decoded, answers, strict=True):
        outcomes.extend((place, _outcome(ref, label, answer)) for place, ref, label in labelled)
    return outcomes


def _labelled(
    task: Task, vocabulary: Labels
) -> tuple[list[tuple[int, ExampleRef, StoredLabel]], list[tuple[int, ErrorRow]]]:
    """The examples of a task with their labels as they are stored, and the error rows of those that have none."""
    if isinstance(task.content, ErrorRow):
        return [], [(place, task.content) for place, _ in task.examples]
    labelled, failed = [], []
    for place, ref in task.examples:
        try:
            labelled.append((place, ref, vocabulary.stored(ref.label)))
        except ExampleError as error:
            failed.append((place, ErrorRow.of(ref, error)))
    return labelled, failed


def _prepared(content: bytes, ref: ExampleRef, model: ModelSpec) -> npt.NDArray[Any]:
    """An example as the model takes it; all examples of a content are the same part of it."""
    if ref.box is None:
        return model.modality.prepare(content)
    return model.modality.prepare_part(content, ref.box)


def _outcome(ref: ExampleRef, label: StoredLabel, answer: Features | ModelRejectedError) -> Outcome:
    if isinstance(answer, ModelRejectedError):
        return ErrorRow.of(ref, answer)
    return FeatureRecord(ref.id, label, answer, ref.kept)


def run_model(
    examples: Sequence[npt.NDArray[Any]], model: ModelSpec, engine: Engine, batch_size: int
) -> list[Features | ModelRejectedError]:
    """Features or a refusal for each example; an example that the model refuses does not affect the others.

    Raises:
      ModelError: the model does not answer with one row of features per example, or not in the shape that it has shown.
    """
    if not examples:
        return []
    try:
        found = _windowed(examples, model, engine, batch_size) if model.is_windowed else _rows(examples, model, engine)
    except ModelRejectedError as error:
        if len(examples) == 1:
            return [error]
        return [outcome for example in examples for outcome in run_model([example], model, engine, batch_size)]
    return [_checked(features, model) for features in found]


def _rows(rows: Sequence[npt.NDArray[Any]], model: ModelSpec, engine: Engine) -> list[Features]:
    """The features of each row of one batch."""
    answer = engine.run(model.batch(rows))
    for name, values in answer.items():
        if len(values) != len(rows) or not values[0].ndim:
            shape = [len(values), *np.shape(values[0])]
            raise ModelError(f"Expected {name} to be an array [batch, ...] of features, found {shape}.")
    return [{name: values[row] for name, values in answer.items()} for row in range(len(rows))]


def _windowed(
    examples: Sequence[npt.NDArray[Any]], model: ModelSpec, engine: Engine, batch_size: int
) -> list[Features]:
    """The features of each example, joined from those of its windows, which fill batches across examples."""
    answers = [answer for rows in batched(model.rows(examples), batch_size) for answer in _rows(rows, model, engine)]
    ends = itertools.accumulate(len(example) for example in examples)
    parts = [answers[end - len(example) : end] for example, end in zip(examples, ends, strict=True)]
    return [
        {name: joined(np.stack([window[name] for window in part]), pool) for name, pool in model.pools.items()}
        for part in parts
    ]


def _checked(features: Features, model: ModelSpec) -> Features | ModelRejectedError:
    """The features of an example, or why they cannot be stored."""
    for name, values in features.items():
        if not _fits(values.shape, model.outputs[name]):
            raise ModelError(
                f"Expected {name} of the shape {list(model.outputs[name])} for every example, found "
                f"{list(values.shape)}: the shape that the model {model.handle} answers with depends on the example. "
                f"Pool it with avg or max, as --layer=NAME:avg."
            )
        if not values.size:
            return ModelRejectedError(_NO_FRAMES)
        if not np.isfinite(values).all():
            return ModelRejectedError(_NOT_FINITE)
    return features


def probe_model(model: ModelSpec, engine: Engine, batch_size: int) -> None:
    """Runs the model on a neutral example.

    Raises:
      ModelError: the model refuses it, or does not answer with one row of features per example.
    """
    (answer,) = run_model([model.modality.probe()], model, engine, batch_size)
    if isinstance(answer, ModelRejectedError):
        raise ModelError(f"The model {model.handle} refuses a neutral {model.modality.name}: {answer}.")


def _fits(shape: Sequence[int], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        wanted in (None, length) for wanted, length in zip(expected, shape, strict=True)
    )
