"""Selects the engine, and loads it: the fastest that agrees with TensorFlow on examples of the input.

The comparison needs all engines at once, including TensorFlow, so it happens in a separate process. Its verdict is
cached for this model, these versions and this CPU.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.engines.base import BF16, FP32, REFERENCE_ENGINE, Engine, EngineChoice
from beam_job.engines.comparison import MAX_DISTANCE, MIN_COSINE, Verdict
from beam_job.engines.registry import ENGINES
from beam_job.modalities.base import save_examples
from beam_job.models.frozen import FrozenModel
from beam_job.models.spec import ModelSpec, frozen_model
from beam_job.runtime.cache import cache_key, cached_directory
from beam_job.runtime.isolation import ProcessDiedError, run_isolated
from beam_job.runtime.tensorflow import died_of
from beam_job.runtime.versions import library_version

AUTO = "auto"
# bfloat16 has 8 significant bits: features computed in it are about 1e-2 from those of float32, relative to their
# length; engines in float32 are about 1e-6 from each other.
MIN_BF16_DISTANCE = 1e-4
_VERDICT_FILE = "verdict.json"
_VERDICT_VERSION = 3
_NO_EXAMPLES = "not compared: no usable example at the start of the input"


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
      batch_size: The number of examples that it will be called with, or None for what is best.
      examples: Gives some examples of the input as the modality prepares them; called only when this machine has not
        compared the engines for this model yet.
      chosen_before: The engine of the run that this one resumes, which is kept as long as it agrees.

    Returns:
      The engine. Without examples none is compared: the one that is named, or else TensorFlow.

    Raises:
      UsageError: the engine that is wanted is not installed.
      ModelError: it does not agree with TensorFlow, or does not compute in that precision on this processor; or the
        model does not give features of single examples.
    """
    frozen = frozen_model(spec)
    candidates = _candidates(frozen, wanted)
    _check_batch_size(batch_size, frozen.batch, f"the model {spec.handle} is made for batches of {frozen.batch}")
    wished = frozen.batch or batch_size or spec.modality.batch_size
    sizes = {name: wished or ENGINES.get(name).batch_sizes[precision] for name in candidates}
    verdict = _verdict(spec, frozen, sizes, precision, examples)
    if verdict is None:
        name = REFERENCE_ENGINE if wanted == AUTO else wanted
        return EngineChoice(name, precision, sizes[name], f"{'requested; ' if wanted != AUTO else ''}{_NO_EXAMPLES}")
    if not verdict.finite:
        raise ModelError(
            f"Expected finite features, found that the model {spec.handle} gives NaN or infinity for every example at "
            f"the start of the input. Is the preprocessing right?"
        )
    choice = _choice(verdict, wanted, precision, chosen_before)
    if not verdict.alone:
        return dataclasses.replace(choice, batch_size=sizes[choice.name], notes=_notes(verdict))
    if verdict.alike:
        raise ModelError(
            f"Expected features that tell examples apart, found the same ones for all examples at the start of the "
            f"input: the model {spec.handle} computes them from a batch as a whole."
        )
    why = f"the features that the model {spec.handle} gives an example depend on its neighbours in a batch"
    _check_batch_size(batch_size, 1, why)
    note = f"{why}, so it is called with one at a time"
    return dataclasses.replace(choice, batch_size=1, alone=True, notes=(note,))


def _check_batch_size(wanted: int | None, needed: int | None, why: str) -> None:
    if wanted and needed and wanted != needed:
        raise ModelError(f"Expected --batch_size={needed}, since {why}; found --batch_size={wanted}.")


def _notes(verdict: Verdict) -> tuple[str, ...]:
    return ("the features of all examples at the start of the input are the same",) if verdict.alike else ()


def load_engine(choice: EngineChoice, spec: ModelSpec, streams: int) -> Engine:
    """An engine with its model, ready to run.

    Args:
      choice: Which engine, at which precision and batch size.
      spec: Which model.
      streams: How many threads will call it at once.

    Raises:
      UsageError: there is no such engine, or it is not installed.
      ModelError: the model is not available.
    """
    return ENGINES.get(choice.name)(frozen_model(spec), choice.batch_size, streams, choice.precision)


def _candidates(model: FrozenModel, wanted: str) -> list[str]:
    """The engine that is wanted, or all that are installed and take the model's batches.

    Raises:
      UsageError: the engine that is wanted is not installed.
    """
    if wanted != AUTO:
        ENGINES.get(wanted)
        return [wanted]
    installed = [name for name in ENGINES if ENGINES.is_installed(name)]
    return [name for name in installed if model.fixed_shape is not None or not ENGINES.get(name).needs_fixed_shape]


def _choice(verdict: Verdict, wanted: str, precision: str, chosen_before: str | None = None) -> EngineChoice:
    """The fastest engine whose features are fit for use, or the one that was chosen before."""
    compared = verdict.engines
    fit = {name: found for name, found in compared.items() if _is_fit(found, precision)}
    if not fit:
        words = "; ".join(f"{name}: {_fault(found, precision)}" for name, found in compared.items())
        if precision == BF16:
            raise ModelError(
                f"Expected an engine that computes in bfloat16, found {words}. Leave out --precision=bf16."
            )
        raise ModelError(f"Expected features that agree with TensorFlow's, found {words}. Use --engine=tensorflow.")
    fastest = min(fit, key=lambda name: float(fit[name]["milliseconds"]))
    name = chosen_before if chosen_before in fit else fastest
    faults = "".join(
        f"; {other} left out, {_fault(found, precision)}" for other, found in compared.items() if other not in fit
    )
    reason = "requested" if wanted != AUTO else f"the fastest of {', '.join(fit)}{faults}"
    found = fit[name]
    reference = name == REFERENCE_ENGINE and precision == FP32
    parity = None if reference else {key: found[key] for key in ("examples", "min_cosine", "mean_relative_distance")}
    milliseconds = {other: float(found["milliseconds"]) for other, found in fit.items()}
    return EngineChoice(name, precision, reason=reason, parity=parity, milliseconds=milliseconds)


def _is_fit(found: Mapping[str, Any], precision: str) -> bool:
    if "error" in found:
        return False
    if precision == BF16:
        return bool(found["mean_relative_distance"] >= MIN_BF16_DISTANCE)
    return bool(found["min_cosine"] >= MIN_COSINE and found["max_relative_distance"] <= MAX_DISTANCE)


def _fault(found: Mapping[str, Any], precision: str) -> str:
    if "error" in found:
        return str(found["error"])
    if precision == BF16:
        return "it computes in float32 on this processor"
    if found["min_cosine"] < MIN_COSINE:
        return f"a cosine of {found['min_cosine']:.6f}, below {MIN_COSINE}"
    return f"a relative distance of {found['max_relative_distance']:.6f}, above {MAX_DISTANCE:.6f}"


def _processor() -> list[str]:
    """What decides how fast and how exactly this machine computes."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    return sorted({line for line in lines if line.startswith(("model name", "flags", "CPU part", "Features"))})


def _verdict(
    spec: ModelSpec,
    frozen: FrozenModel,
    batch_sizes: Mapping[str, int],
    precision: str,
    examples: Callable[[], Sequence[npt.NDArray[Any]]],
) -> Verdict | None:
    """What the comparison of engines found, from the cache or made now; None without examples."""
    key = cache_key(
        [
            _VERDICT_VERSION,
            spec.identity(),
            spec.modality.preprocessing(),
            [library_version(name) for name in ENGINES if ENGINES.is_installed(name)],
            _processor(),
            precision,
            sorted(batch_sizes.items()),
        ]
    )

    def make(folder: Path) -> None:
        found = examples()
        if not found:
            raise _NoExamplesError
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            save_examples(file.name, found)
            verdict = _compare(spec.handle, frozen, file.name, batch_sizes, precision)
        (folder / _VERDICT_FILE).write_text(json.dumps(verdict))

    try:
        folder = cached_directory("engines", key, make)
    except _NoExamplesError:
        return None
    return Verdict(**json.loads((folder / _VERDICT_FILE).read_text()))


class _NoExamplesError(Exception):
    pass


def _compare(
    handle: str, frozen: FrozenModel, examples: str, batch_sizes: Mapping[str, int], precision: str
) -> dict[str, Any]:
    """Compares engines in a separate process; one that ends the process by a signal has failed.

    Raises:
      ModelError: TensorFlow itself does.
    """
    arguments = {"graph": str(frozen.graph), "model": frozen.to_json(), "examples": examples, "precision": precision}
    compare = "beam_job.engines.comparison:compare_engines"
    try:
        verdict: dict[str, Any] = run_isolated(compare, batch_sizes=batch_sizes, **arguments)
    except ProcessDiedError as error:
        alone = {name: size for name, size in batch_sizes.items() if name == REFERENCE_ENGINE}
        if alone == batch_sizes:
            raise ModelError(died_of(error.signal, handle)) from None
        verdict = _compare(handle, frozen, examples, alone or {REFERENCE_ENGINE: 1}, precision)
        died = {"error": f"its process ended by {error.signal}"}
        others = {name: died for name in batch_sizes if name != REFERENCE_ENGINE}
        verdict["engines"] = {name: found for name, found in verdict["engines"].items() if name in batch_sizes} | others
    return verdict
