"""Selects the engine, and loads it: the fastest that agrees with TensorFlow on examples of the input.

The comparison needs all engines at once, including TensorFlow, so it happens in a separate process. Its verdict is
cached for this model, these versions and this CPU.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.core.records import Float32Array
from beam_job.engines.base import BF16, FP32, REFERENCE_ENGINE, Engine, EngineChoice
from beam_job.engines.registry import ENGINES
from beam_job.modalities.base import Batch
from beam_job.models.frozen import FrozenModel
from beam_job.models.spec import ModelSpec, frozen_model
from beam_job.runtime.cache import cache_key, cached_directory
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.versions import library_version

AUTO = "auto"
MIN_COSINE = 0.9999
# bfloat16 has 8 significant bits: features computed in it are about 1e-2 from those of float32, relative to their
# length; engines in float32 are about 1e-6 from each other.
MIN_BF16_DISTANCE = 1e-4
_VERDICT_FILE = "verdict.json"
_VERDICT_VERSION = 2
_TIMED_SECONDS = 0.5
_NO_EXAMPLES = "not compared: no usable example at the start of the input"
Verdict = Mapping[str, Mapping[str, Any]]


def choose_engine(
    spec: ModelSpec,
    wanted: str,
    precision: str,
    batch_size: int | None,
    examples: Callable[[], Sequence[npt.NDArray[Any]]],
    chosen_before: str | None = None,
) -> EngineChoice:
    """The engine for a run.

    Args:
      spec: The model.
      wanted: An engine's name, or ``auto``.
      precision: ``fp32`` or ``bf16``.
      batch_size: The largest batch that it will get, or None for each engine's own.
      examples: Gives some examples of the input as the modality prepares them; called only when this machine has not
        compared the engines for this model yet.
      chosen_before: The engine of the run that this one resumes, which is kept as long as it agrees.

    Returns:
      The engine. Without examples none is compared: the one that is named, or else TensorFlow.

    Raises:
      UsageError: the engine that is wanted is not installed.
      ModelError: it does not agree with TensorFlow, or does not compute in that precision on this processor.
    """
    candidates = _candidates(spec, wanted)
    if candidates == [REFERENCE_ENGINE] and precision == FP32:
        reason = "requested" if wanted != AUTO else "the only one that is installed and takes this modality"
        return EngineChoice(REFERENCE_ENGINE, FP32, reason)
    verdict = _verdict(spec, candidates, precision, batch_size, examples)
    if not verdict:
        name = REFERENCE_ENGINE if wanted == AUTO else wanted
        return EngineChoice(name, precision, f"{'requested; ' if wanted != AUTO else ''}{_NO_EXAMPLES}")
    return _choice(verdict, wanted, precision, chosen_before)


def load_engine(choice: EngineChoice, spec: ModelSpec, batch_size: int, streams: int) -> Engine:
    """An engine with its model, ready to run.

    Args:
      choice: Which engine, at which precision.
      spec: Which model.
      batch_size: The largest batch that it will get.
      streams: How many threads will call it at once.

    Raises:
      UsageError: there is no such engine, or it is not installed.
      ModelError: the model is not available.
    """
    return ENGINES.get(choice.name)(frozen_model(spec), batch_size, streams, choice.precision)


def _candidates(spec: ModelSpec, wanted: str) -> list[str]:
    """The engine that is wanted, or all that are installed and take the model's batches.

    Raises:
      UsageError: the engine that is wanted is not installed.
    """
    if wanted != AUTO:
        ENGINES.get(wanted)
        return [wanted]
    installed = [name for name in ENGINES if ENGINES.is_installed(name)]
    return [name for name in installed if spec.modality.fixed_shape or not ENGINES.get(name).needs_fixed_shape]


def _choice(verdict: Verdict, wanted: str, precision: str, chosen_before: str | None = None) -> EngineChoice:
    """The fastest engine whose features are fit for use, or the one that was chosen before."""
    fit = {name: found for name, found in verdict.items() if _is_fit(found, precision)}
    if not fit:
        words = "; ".join(f"{name}: {_fault(found, precision)}" for name, found in verdict.items())
        if precision == BF16:
            raise ModelError(
                f"Expected an engine that computes in bfloat16, found {words}. Leave out --precision=bf16."
            )
        raise ModelError(f"Expected features that agree with TensorFlow's, found {words}. Use --engine=tensorflow.")
    fastest = min(fit, key=lambda name: float(fit[name]["milliseconds"]))
    name = chosen_before if chosen_before in fit else fastest
    faults = "".join(
        f"; {other} left out, {_fault(found, precision)}" for other, found in verdict.items() if other not in fit
    )
    reason = "requested" if wanted != AUTO else f"the fastest of {', '.join(fit)}{faults}"
    found = fit[name]
    reference = name == REFERENCE_ENGINE and precision == FP32
    parity = None if reference else {key: found[key] for key in ("examples", "min_cosine", "mean_relative_distance")}
    milliseconds = {other: float(found["milliseconds"]) for other, found in fit.items()}
    return EngineChoice(name, precision, reason, parity, milliseconds)


def _is_fit(found: Mapping[str, Any], precision: str) -> bool:
    if "error" in found:
        return False
    if precision == BF16:
        return bool(found["mean_relative_distance"] >= MIN_BF16_DISTANCE)
    return bool(found["min_cosine"] >= MIN_COSINE)


def _fault(found: Mapping[str, Any], precision: str) -> str:
    if "error" in found:
        return str(found["error"])
    if precision == BF16:
        return "it computes in float32 on this processor"
    return f"a cosine of {found['min_cosine']:.6f}, below {MIN_COSINE}"


def _processor() -> list[str]:
    """What decides how fast and how exactly this machine computes."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    return sorted({line for line in lines if line.startswith(("model name", "flags", "CPU part", "Features"))})


def _verdict(
    spec: ModelSpec,
    candidates: Sequence[str],
    precision: str,
    batch_size: int | None,
    examples: Callable[[], Sequence[npt.NDArray[Any]]],
) -> Verdict:
    versions = [library_version(name) for name in ENGINES if ENGINES.is_installed(name)]
    batch_sizes = {name: batch_size or ENGINES.get(name).batch_sizes[precision] for name in candidates}
    key = cache_key(
        [
            _VERDICT_VERSION,
            spec.digest,
            [str(layer) for layer in spec.options.layer],
            spec.modality.preprocessing(),
            versions,
            _processor(),
            list(candidates),
            precision,
            list(batch_sizes.values()),
        ]
    )
    model = frozen_model(spec)

    def make(folder: Path) -> None:
        found = examples()
        if not found:
            raise _NoExamplesError
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file, np.stack(found))
            file.flush()
            verdict = run_isolated(
                f"{__name__}:compare_engines",
                graph=str(model.graph),
                model=model.to_json(),
                examples=file.name,
                batch_sizes=batch_sizes,
                precision=precision,
            )
        (folder / _VERDICT_FILE).write_text(json.dumps(verdict))

    try:
        folder = cached_directory("engines", key, make)
    except _NoExamplesError:
        return {}
    verdict: Verdict = json.loads((folder / _VERDICT_FILE).read_text())
    return verdict


class _NoExamplesError(Exception):
    pass


def compare_engines(
    graph: str, model: Mapping[str, Any], examples: str, batch_sizes: Mapping[str, int], precision: str
) -> dict[str, dict[str, Any]]:
    """Compares engines with TensorFlow in fp32; runs in a separate process.

    Args:
      graph: Path of the frozen graph.
      model: The frozen model, as its ``to_json`` describes it.
      examples: Path of a .npy file with a batch of examples.
      batch_sizes: The engines to compare, and the batch size of each.
      precision: ``fp32`` or ``bf16``.

    Returns:
      By engine: ``error``, or ``examples``, ``min_cosine``, ``mean_relative_distance`` and ``milliseconds`` per example
      on one core.
    """
    frozen = FrozenModel.from_json(Path(graph), model)
    batch: npt.NDArray[Any] = np.load(examples)
    reference_type = ENGINES.get(REFERENCE_ENGINE)
    reference_engine = reference_type(frozen, reference_type.batch_sizes[FP32], 1, FP32)
    reference = [reference_engine.run(example[np.newaxis]) for example in batch]
    found: dict[str, dict[str, Any]] = {}
    for name, batch_size in batch_sizes.items():
        try:
            engine = ENGINES.get(name)(frozen, batch_size, 1, precision)
            answers = [engine.run(example[np.newaxis]) for example in batch]
        except Exception as error:  # an engine that fails on the model is not chosen, however it fails
            found[name] = {"error": " ".join(str(error).split())[:300]}
            continue
        pairs = [
            (expected[output].ravel(), answer[output].ravel())
            for expected, answer in zip(reference, answers, strict=True)
            for output in frozen.outputs
        ]
        found[name] = {
            "examples": len(batch),
            "min_cosine": round(min(_cosine(one, two) for one, two in pairs), 8),
            "mean_relative_distance": round(float(np.mean([_distance(one, two) for one, two in pairs])), 8),
            "milliseconds": _milliseconds(engine, batch, batch_size),
        }
    return found


def _cosine(one: Float32Array, two: Float32Array) -> float:
    """The cosine of the angle between two vectors in double precision; 1 for two of length zero."""
    one64, two64 = one.astype(np.float64), two.astype(np.float64)
    lengths = float(np.linalg.norm(one64) * np.linalg.norm(two64))
    if not lengths:
        return float(np.array_equal(one, two))
    return float(one64 @ two64) / lengths


def _distance(one: Float32Array, two: Float32Array) -> float:
    """|two - one| / |one|."""
    length = float(np.linalg.norm(one))
    return float(np.linalg.norm(two - one)) / length if length else float(np.linalg.norm(two))


def _milliseconds(engine: Engine, examples: npt.NDArray[Any], batch_size: int) -> float:
    batch = np.resize(examples, (batch_size, *examples.shape[1:]))
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
    while time.perf_counter() - start < seconds:
        engine.run(batch)
        runs += 1
    return (time.perf_counter() - start) * 1000 / (runs * count)
