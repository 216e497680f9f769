"""Which engine runs a model: the fastest that agrees with TensorFlow on pictures of the input.

The comparison needs every engine at once, TensorFlow among them, so it happens in a process of its own. Its verdict is
kept in the cache for this model, these versions and this processor.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beam_job.core.errors import ModelError
from beam_job.core.options import ImageSize
from beam_job.core.records import Float32Array
from beam_job.engines.base import BATCH_SIZES, BF16, ENGINES, FP32, REFERENCE_ENGINE, EngineChoice
from beam_job.models.spec import FrozenModel, ModelSpec, frozen_model
from beam_job.runtime.cache import cached_directory, digest_of
from beam_job.runtime.isolation import run_isolated

AUTO = "auto"
LEAST_COSINE = 0.9999
# bfloat16 keeps 8 bits of a number: features computed in it lie some 1e-2 from those of float32, relative to their
# length, and engines in float32 some 1e-6 from each other.
LEAST_BF16_DISTANCE = 1e-4
_VERDICT_FILE = "verdict.json"
_VERDICT_VERSION = 1
_TIMED_SECONDS = 0.5
Verdict = Mapping[str, Mapping[str, Any]]


def choose_engine(
    spec: ModelSpec,
    wanted: str,
    precision: str,
    batch_size: int | None,
    pictures: Callable[[], Sequence[Float32Array]],
    chosen_before: str | None = None,
) -> EngineChoice:
    """The engine for a run.

    Args:
      spec: The model.
      wanted: An engine's name, or ``auto``.
      precision: ``fp32`` or ``bf16``.
      batch_size: How many images it will be given at once, or None for each engine's own.
      pictures: Gives some pictures of the input in the model's convention, float32 [H, W, 3] each; asked only when this
        machine has not compared the engines for this model yet.
      chosen_before: What ``auto`` has taken in the run that this one goes on with, to stay with as long as it agrees.

    Raises:
      UsageError: the engine that is wanted is not installed.
      ModelError: it does not agree with TensorFlow, or does not compute in that precision on this processor.
    """
    if wanted != AUTO:
        ENGINES.get(wanted)
    candidates = [name for name in ENGINES if _installed(name)] if wanted == AUTO else [wanted]
    if candidates == [REFERENCE_ENGINE] and precision == FP32:
        reason = "asked for" if wanted != AUTO else "the only one that is installed"
        return EngineChoice(REFERENCE_ENGINE, FP32, reason)
    verdict = _verdict(spec, candidates, precision, batch_size, pictures)
    if not verdict:
        return EngineChoice(REFERENCE_ENGINE, precision, "no picture at the input's beginning to compare others on")
    return _choice(verdict, wanted, precision, chosen_before)


def _choice(verdict: Verdict, wanted: str, precision: str, chosen_before: str | None = None) -> EngineChoice:
    """The fastest engine of those whose features can be used, or the one that was chosen before."""
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
    reason = "asked for" if wanted != AUTO else f"the fastest of {', '.join(fit)}{faults}"
    found = fit[name]
    reference = name == REFERENCE_ENGINE and precision == FP32
    parity = None if reference else {key: found[key] for key in ("images", "least_cosine", "mean_relative_distance")}
    milliseconds = {other: float(found["milliseconds"]) for other, found in fit.items()}
    return EngineChoice(name, precision, reason, parity, milliseconds)


def _is_fit(found: Mapping[str, Any], precision: str) -> bool:
    if "error" in found:
        return False
    if precision == BF16:
        return bool(found["mean_relative_distance"] >= LEAST_BF16_DISTANCE)
    return bool(found["least_cosine"] >= LEAST_COSINE)


def _fault(found: Mapping[str, Any], precision: str) -> str:
    if "error" in found:
        return str(found["error"])
    if precision == BF16:
        return "it computes in float32 on this processor"
    return f"a cosine of {found['least_cosine']:.6f}, below {LEAST_COSINE}"


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


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
    pictures: Callable[[], Sequence[Float32Array]],
) -> Verdict:
    versions = [importlib.metadata.version(name) for name in ENGINES if _installed(name)]
    batch_sizes = {name: batch_size or BATCH_SIZES[name][precision] for name in candidates}
    key = digest_of(
        [
            _VERDICT_VERSION,
            spec.digest,
            [str(layer) for layer in spec.options.layer],
            spec.preprocessing.to_json(),
            versions,
            _processor(),
            list(candidates),
            precision,
            list(batch_sizes.values()),
        ]
    )
    model = frozen_model(spec)

    def make(folder: Path) -> None:
        found = pictures()
        if not found:
            raise _NoPicturesError
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file, np.stack(found))
            file.flush()
            verdict = run_isolated(
                f"{__name__}:compare_engines",
                graph=str(model.graph),
                source=model.input,
                outputs=dict(model.outputs),
                size=[model.size.height, model.size.width],
                pictures=file.name,
                batch_sizes=batch_sizes,
                precision=precision,
            )
        (folder / _VERDICT_FILE).write_text(json.dumps(verdict))

    try:
        folder = cached_directory("engines", key, make)
    except _NoPicturesError:
        return {}
    verdict: Verdict = json.loads((folder / _VERDICT_FILE).read_text())
    return verdict


class _NoPicturesError(Exception):
    pass


def compare_engines(
    graph: str,
    source: str,
    outputs: Mapping[str, str],
    size: Sequence[int],
    pictures: str,
    batch_sizes: Mapping[str, int],
    precision: str,
) -> dict[str, dict[str, Any]]:
    """Compares engines with TensorFlow in fp32; runs in a process of its own.

    Args:
      graph: Path of the frozen graph.
      source: Name of its input.
      outputs: Feature name to the name of its tensor.
      size: Height and width of the input.
      pictures: Path of a .npy file, float32 [n, H, W, 3] in the model's convention.
      batch_sizes: The engines to compare, and how many images each is given at once.
      precision: What they compute in.

    Returns:
      By engine: ``error``, or ``images``, ``least_cosine``, ``mean_relative_distance`` and ``milliseconds`` for an
      image on one core.
    """
    model = FrozenModel(Path(graph), source, outputs, {}, ImageSize(*size), False, 0)
    images: Float32Array = np.load(pictures)
    reference_engine = ENGINES.get(REFERENCE_ENGINE)(model, BATCH_SIZES[REFERENCE_ENGINE][FP32], 1, FP32)
    reference = [reference_engine.run(image[np.newaxis]) for image in images]
    found: dict[str, dict[str, Any]] = {}
    for name, batch_size in batch_sizes.items():
        try:
            engine = ENGINES.get(name)(model, batch_size, 1, precision)
            answers = [engine.run(image[np.newaxis]) for image in images]
        except Exception as error:  # an engine that stumbles over the model is not chosen, whatever it stumbles with
            found[name] = {"error": " ".join(str(error).split())[:300]}
            continue
        pairs = [
            (expected[output].ravel(), answer[output].ravel())
            for expected, answer in zip(reference, answers, strict=True)
            for output in outputs
        ]
        found[name] = {
            "images": len(images),
            "least_cosine": round(min(_cosine(one, two) for one, two in pairs), 8),
            "mean_relative_distance": round(float(np.mean([_distance(one, two) for one, two in pairs])), 8),
            "milliseconds": _milliseconds(engine, images, batch_size),
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


def _milliseconds(engine: Any, images: Float32Array, batch_size: int) -> float:
    batch = np.resize(images, (batch_size, *images.shape[1:]))
    engine.run(batch)
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < _TIMED_SECONDS:
        engine.run(batch)
        runs += 1
    return round((time.perf_counter() - start) * 1000 / (runs * batch_size), 3)
