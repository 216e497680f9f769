"""What a model is, before anything is extracted with it: input, outputs, layers, speed, and the flags still needed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_job.core.errors import FlagNeededError
from beam_job.core.options import ModelOptions
from beam_job.engines.base import EngineChoice, load_engine
from beam_job.models.spec import ModelSpec, describe_model, fetch_model, freeze_artefact, list_layers

_BATCH = 8
_TIMED_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """What is known of a model.

    Attributes:
      handle: What the user called it.
      form: How it is stored: saved_model, tf1_hub, keras_file or keras_application.
      digest: Hash that stands for its content.
      parameters: How many numbers it has learnt, or None as long as a flag is needed to load it.
      preprocessing: From a picture to its input, as in run.json, or None likewise.
      features: Feature name to the shape for one image, as they would be stored.
      outputs: Names that the model knows and --layer may give, with their shapes where they are known.
      tensors: Tensors of its graph that --layer may give.
      milliseconds: Time for an image by TensorFlow on one core of this machine, or None likewise.
      needed: What is still needed, a sentence for each flag.
    """

    handle: str
    form: str
    digest: str
    parameters: int | None
    preprocessing: Mapping[str, Any] | None
    features: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int | None, ...] | None]
    tensors: Mapping[str, tuple[int | None, ...]]
    milliseconds: float | None
    needed: tuple[str, ...]


def inspect_model(options: ModelOptions) -> ModelReport:
    """Looks at a model.

    Raises:
      ModelError: it cannot be had, or is no model of images.
    """
    artefact = fetch_model(options)
    needed = []
    spec: ModelSpec | None = None
    parameters = milliseconds = None
    features: Mapping[str, tuple[int, ...]] = {}
    outputs: Mapping[str, tuple[int | None, ...] | None] = {}
    tensors: Mapping[str, tuple[int | None, ...]] = {}
    try:
        frozen = freeze_artefact(artefact, options)
        parameters, features = frozen.parameters, frozen.shapes
        spec = describe_model(options)
        milliseconds = _milliseconds(spec)
    except FlagNeededError as error:
        needed.append(str(error))
    try:
        outputs, tensors = list_layers(artefact, options)
    except FlagNeededError as error:
        if str(error) not in needed:
            needed.append(str(error))
    return ModelReport(
        handle=options.model,
        form=artefact.form,
        digest=artefact.digest,
        parameters=parameters,
        preprocessing=spec.preprocessing.to_json() if spec else None,
        features=features,
        outputs=outputs,
        tensors=tensors,
        milliseconds=milliseconds,
        needed=tuple(needed),
    )


def _milliseconds(spec: ModelSpec) -> float:
    """Time for an image, from batches on one thread."""
    engine = load_engine(EngineChoice(), spec, _BATCH, 1)
    size = spec.preprocessing.size
    gray = spec.preprocessing.scale(np.full((size.height, size.width, 3), 127.5, np.float32))
    batch = np.stack([gray] * _BATCH)
    engine.run(batch)
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < _TIMED_SECONDS:
        engine.run(batch)
        runs += 1
    return (time.perf_counter() - start) * 1000 / (runs * _BATCH)
