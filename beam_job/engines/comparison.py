"""Compares engines with TensorFlow on examples of the input; runs in a separate process, which needs all of them.

What is compared is what the job will do: each engine at the batch size that it will be called with, against TensorFlow
with one example at a time. On the way it is found out whether the rows of a batch depend on each other at all.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beam_job.core.records import Float32Array
from beam_job.engines.base import FP32, REFERENCE_ENGINE, Engine
from beam_job.engines.registry import ENGINES
from beam_job.modalities.base import Batch, as_batch, load_examples
from beam_job.models.frozen import FrozenModel

MIN_COSINE = 0.9999
# The relative distance of two vectors of equal length with that cosine: the chord of the angle between them.
MAX_DISTANCE = (2 * (1 - MIN_COSINE)) ** 0.5
_TIMED_SECONDS = 0.5
_PADDED = 4  # examples that are tried beside an empty one
_FAINT = 0.3
_SAME = 2e-4  # relative distance up to which two features of TensorFlow are the same but for rounding
Rows = Sequence[Mapping[str, Float32Array]]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
      finite: How many of the examples have finite features; the others are left out.
      alone: Whether the features of an example depend on its neighbours in a batch.
      alike: Whether the features of different examples are all the same.
      engines: By engine: ``error``, or ``examples``, ``min_cosine``, ``max_relative_distance``,
        ``mean_relative_distance`` and ``milliseconds`` per example on one core.
    """

    finite: int
    alone: bool
    alike: bool
    engines: Mapping[str, Mapping[str, Any]]


def compare_engines(
    graph: str, model: Mapping[str, Any], examples: str, batch_sizes: Mapping[str, int], precision: str
) -> dict[str, Any]:
    """Compares engines with TensorFlow in fp32.

    Args:
      graph: Path of the frozen graph.
      model: The frozen model, as its ``to_json`` describes it.
      examples: Path of a file that ``save_examples`` wrote.
      batch_sizes: The engines to compare, and the batch size of each.
      precision: ``fp32`` or ``bf16``.

    Returns:
      The verdict, as a dictionary.
    """
    frozen = FrozenModel.from_json(Path(graph), model)
    given = load_examples(examples)
    single = _reference(frozen, frozen.batch or 1)
    expected = _rows(single, as_batch(given, frozen.example_shape), 1)
    finite = [all(np.isfinite(values).all() for values in row.values()) for row in expected]
    if not any(finite):
        return dataclasses.asdict(Verdict(0, False, False, {}))
    batch = as_batch(list(itertools.compress(given, finite)), frozen.example_shape)
    expected = list(itertools.compress(expected, finite))
    alone = frozen.batch is None and not _independent(frozen, batch, single, expected)
    found: dict[str, dict[str, Any]] = {}
    for name, batch_size in batch_sizes.items():
        size = 1 if alone else batch_size
        try:
            engine = ENGINES.get(name)(frozen, size, 1, precision)
            measured = _differences(expected, _rows(engine, batch, size))
        except Exception as error:  # an engine that fails on the model is not chosen, however it fails
            found[name] = {"error": " ".join(str(error).split())[:300]}
            continue
        found[name] = {"examples": len(batch), **measured, "milliseconds": _milliseconds(engine, batch, size)}
    return dataclasses.asdict(Verdict(len(batch), alone, _alike(batch, expected), found))


def _reference(model: FrozenModel, batch_size: int) -> Engine:
    return ENGINES.get(REFERENCE_ENGINE)(model, batch_size, 1, FP32)


def _rows(engine: Engine, batch: Batch, size: int) -> Rows:
    """The features of each example, from calls on ``size`` of them."""
    rows: list[Mapping[str, Float32Array]] = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        answer = engine.run(part)
        rows.extend({name: values[number] for name, values in answer.items()} for number in range(len(part)))
    return rows


def _independent(model: FrozenModel, batch: Batch, single: Engine, expected: Rows) -> bool:
    """Whether examples have the same features together, and beside an empty one, as alone.

    Fainter copies stand among those of numbers: what is taken of the whole batch, such as its largest value, may be the
    same for all examples as they are.
    """
    if isinstance(batch, list):  # which the engine calls with one at a time
        return True
    faint = batch[:0] if batch.dtype.hasobject else (batch * np.float32(_FAINT)).astype(batch.dtype)
    varied = np.concatenate((batch, faint))
    try:
        alone = [*expected, *_rows(single, faint, 1)]
        together = _rows(_reference(model, len(varied)), varied, len(varied))
        padded = _rows(_reference(model, 2), batch[:_PADDED], 1)
        measured = _differences(alone, together), _differences(alone[: len(padded)], padded)
    except Exception:  # it takes one example at a time, or fills up the answer to the longest of the batch
        return False
    return all(found["max_relative_distance"] <= _SAME for found in measured)


def _alike(batch: Batch, rows: Rows) -> bool:
    """Whether examples that differ all have the same features."""
    differ = any(not np.array_equal(example, batch[0]) for example in batch)
    same = all(np.array_equal(values, rows[0][name]) for row in rows for name, values in row.items())
    return differ and same


def _differences(expected: Rows, found: Rows) -> dict[str, float]:
    """How far features are from those that are expected."""
    pairs = list(_pairs(expected, found))
    distances = [distance(one, two) for one, two in pairs]
    return {
        "min_cosine": round(min(cosine(one, two) for one, two in pairs), 8),
        "max_relative_distance": round(max(distances), 8),
        "mean_relative_distance": round(float(np.mean(distances)), 8),
    }


def _pairs(expected: Rows, found: Rows) -> Iterator[tuple[Float32Array, Float32Array]]:
    """The same features of the same examples.

    Raises:
      ValueError: they have different shapes.
    """
    for one, two in zip(expected, found, strict=True):
        for name, values in one.items():
            if values.shape != two[name].shape:
                raise ValueError(f"it gives {name} of the shape {two[name].shape}, not {values.shape}")
            yield values.ravel(), two[name].ravel()


def cosine(one: Float32Array, two: Float32Array) -> float:
    """The cosine of the angle between two vectors in double precision; 1 for two of length zero."""
    one64, two64 = one.astype(np.float64), two.astype(np.float64)
    lengths = float(np.linalg.norm(one64) * np.linalg.norm(two64))
    if not lengths:
        return float(np.array_equal(one, two))
    return float(one64 @ two64) / lengths


def distance(one: Float32Array, two: Float32Array) -> float:
    """|two - one| / |one|."""
    length = float(np.linalg.norm(one))
    return float(np.linalg.norm(two - one)) / length if length else float(np.linalg.norm(two))


def _milliseconds(engine: Engine, examples: Batch, batch_size: int) -> float:
    batch = (
        examples[:1] * batch_size
        if isinstance(examples, list)
        else np.resize(examples, (batch_size, *examples.shape[1:]))
    )
    return round(milliseconds_per_example(engine, batch, batch_size, _TIMED_SECONDS), 3)


def milliseconds_per_example(engine: Engine, batch: Batch, count: int, seconds: float) -> float:
    """The time per example in one thread, from calls on the same batch, after a first one that is not counted.

    Args:
      engine: The engine.
      batch: A batch.
      count: The number of examples in it.
      seconds: How long to measure.
    """
    engine.run(batch)
    start, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - start < seconds:
        engine.run(batch)
        runs += 1
    return (time.perf_counter() - start) * 1000 / (runs * count)
