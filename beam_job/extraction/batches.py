"""From a batch of contents to its outcomes: decodes what can be decoded, and runs the model on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ExampleError, ModelError, ModelRejectedError
from beam_job.core.metrics import StageTimes
from beam_job.core.records import ErrorRow, ExampleRef, FeatureRecord, Float32Array
from beam_job.dataset.labels import LabelVocabulary
from beam_job.engines.base import Engine
from beam_job.extraction.arranging import Task
from beam_job.models.spec import ModelSpec

Outcome = FeatureRecord | ErrorRow
Features = Mapping[str, Float32Array]

_NOT_FINITE = "expected finite features, found NaN or infinity"


def process_batch(
    batch: Sequence[Task], model: ModelSpec, engine: Engine, vocabulary: LabelVocabulary, times: StageTimes
) -> list[tuple[int, Outcome]]:
    """An outcome for each example of a batch, with the example's place in its shard.

    Args:
      batch: The contents, or error rows for them, with the examples that they belong to.
      model: Which model; its modality decodes.
      engine: Runs the model.
      vocabulary: Label to index.
      times: Gets the seconds of each stage.
    """
    outcomes: list[tuple[int, Outcome]] = []
    decoded: list[list[tuple[int, ExampleRef, int]]] = []
    examples: list[npt.NDArray[Any]] = []
    with times.measure("decode"):
        for task in batch:
            labelled, failed = _labelled(task, vocabulary)
            outcomes.extend(failed)
            if isinstance(task.content, bytes) and labelled:
                try:
                    examples.append(model.modality.prepare(task.content))
                except ExampleError as error:
                    outcomes.extend((place, ErrorRow.of(ref, error)) for place, ref, _ in labelled)
                else:
                    decoded.append(labelled)
    with times.measure("model"):
        answers = run_model(examples, model, engine)
    for labelled, answer in zip(decoded, answers, strict=True):
        outcomes.extend((place, _outcome(ref, label, answer)) for place, ref, label in labelled)
    return outcomes


def _labelled(
    task: Task, vocabulary: LabelVocabulary
) -> tuple[list[tuple[int, ExampleRef, int]], list[tuple[int, ErrorRow]]]:
    """The examples of a task with the numbers of their labels, and the error rows of those that have none."""
    if isinstance(task.content, ErrorRow):
        return [], [(place, task.content) for place, _ in task.examples]
    labelled, failed = [], []
    for place, ref in task.examples:
        try:
            labelled.append((place, ref, vocabulary.index(ref.label)))
        except ExampleError as error:
            failed.append((place, ErrorRow.of(ref, error)))
    return labelled, failed


def _outcome(ref: ExampleRef, label: int, answer: Features | ModelRejectedError) -> Outcome:
    if isinstance(answer, ModelRejectedError):
        return ErrorRow.of(ref, answer)
    return FeatureRecord(ref.id, label, answer)


def run_model(
    examples: Sequence[npt.NDArray[Any]], model: ModelSpec, engine: Engine
) -> list[Features | ModelRejectedError]:
    """Features or a refusal for each example; an example that the model refuses does not affect the others.

    Raises:
      ModelError: the model does not answer with one row of features per example.
    """
    if not examples:
        return []
    try:
        answer = engine.run(model.batch(examples))
    except ModelRejectedError as error:
        if len(examples) == 1:
            return [error]
        return [outcome for example in examples for outcome in run_model([example], model, engine)]
    for name, values in answer.items():
        if values.ndim < 2 or len(values) != len(examples):
            raise ModelError(f"Expected {name} to be an array [batch, ...] of features, found {values.shape}.")
    rows = [{name: values[row] for name, values in answer.items()} for row in range(len(examples))]
    all_finite = _is_finite(answer)
    return [row if all_finite or _is_finite(row) else ModelRejectedError(_NOT_FINITE) for row in rows]


def probe_model(model: ModelSpec, engine: Engine) -> dict[str, tuple[int, ...]]:
    """Runs the model on a neutral example.

    Returns:
      Feature name to the shape for one example.

    Raises:
      ModelError: the model refuses it, or does not answer with one row of features per example.
    """
    (answer,) = run_model([model.modality.probe()], model, engine)
    if isinstance(answer, ModelRejectedError):
        raise ModelError(f"The model {model.handle} refuses a neutral {model.modality.name}: {answer}.")
    return {name: values.shape for name, values in answer.items()}


def _is_finite(features: Features) -> bool:
    return all(bool(np.isfinite(values).all()) for values in features.values())
