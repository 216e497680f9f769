"""``beam-job inspect-model``: a model's input, outputs, layers and speed, and the flags that it still needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_job.core.errors import FlagNeededError
from beam_job.core.options import ModelOptions
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import load_engine, milliseconds_per_example
from beam_job.modalities.base import Shape
from beam_job.models.frozen import freeze_artefact, list_layers
from beam_job.models.sources.selection import fetch_model
from beam_job.models.spec import ModelSpec, describe_model

_BATCH = 8
_TIMED_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """What is known about a model.

    Attributes:
      handle: What the user called it.
      form: How it is stored: saved_model, tf1_hub, keras_file or keras_application.
      digest: Hash that identifies its content.
      modality: What it takes, or None as long as a flag is needed to load it.
      parameters: Number of parameters, or None likewise.
      preprocessing: From a decoded example to its input, as in run.json, or None likewise.
      features: Feature name to the shape for one example, as it would be stored.
      outputs: Names in the model that --layer may give, with their shapes where they are known.
      tensors: Tensors of its graph that --layer may give.
      milliseconds: Time per example with TensorFlow on one core of this machine, or None likewise.
      needed: What is still needed, one sentence per flag.
    """

    handle: str
    form: str
    digest: str
    modality: str | None
    parameters: int | None
    preprocessing: Mapping[str, Any] | None
    features: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, Shape | None]
    tensors: Mapping[str, Shape]
    milliseconds: float | None
    needed: tuple[str, ...]


def inspect_model(options: ModelOptions) -> ModelReport:
    """Inspects a model.

    Raises:
      ModelError: it cannot be fetched, or takes no known modality.
    """
    artefact = fetch_model(options)
    needed = []
    spec: ModelSpec | None = None
    modality = parameters = milliseconds = None
    features: Mapping[str, tuple[int, ...]] = {}
    outputs: Mapping[str, Shape | None] = {}
    tensors: Mapping[str, Shape] = {}
    try:
        frozen = freeze_artefact(artefact, options)
        modality, parameters, features = frozen.modality, frozen.parameters, frozen.shapes
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
        modality=modality,
        parameters=parameters,
        preprocessing=spec.modality.preprocessing() if spec else None,
        features=features,
        outputs=outputs,
        tensors=tensors,
        milliseconds=milliseconds,
        needed=tuple(needed),
    )


def _milliseconds(spec: ModelSpec) -> float:
    """Time per example, from batches in one thread."""
    engine = load_engine(EngineChoice(), spec, _BATCH, 1)
    batch = spec.modality.batch([spec.modality.probe()] * _BATCH)
    return milliseconds_per_example(engine, batch, _BATCH, _TIMED_SECONDS)
