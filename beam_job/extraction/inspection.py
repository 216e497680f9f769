"""``beam-job inspect-model``: a model's input, outputs, layers and speed, and the flags that it still needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_job.core.errors import FlagNeededError, InputError
from beam_job.core.options import ModelOptions
from beam_job.core.records import Shape
from beam_job.dataset.originals import example_files
from beam_job.engines.base import EngineChoice
from beam_job.engines.comparison import milliseconds_per_example
from beam_job.engines.selection import load_engine
from beam_job.extraction.reading import first_examples
from beam_job.inputs.reading import first_look
from beam_job.inputs.selection import open_source
from beam_job.models.frozen import ModelNames, freeze_artefact, list_names, time_names
from beam_job.models.loaders.base import LayerInfo
from beam_job.models.sources.base import Artefact
from beam_job.models.sources.selection import fetch_model
from beam_job.models.spec import ModelSpec, describe_model

_BATCH = 8
_TIMED_SECONDS = 1.0
# Tensors of the graph that are timed, where a model tells no layers: the last ones.
_TIMED_TENSORS = 30


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """A layer that ``--layer`` may name.

    Attributes:
      name: What ``--layer`` takes; for a layer within another model, after that one's name and a slash.
      kind: Its class.
      shape: The shape for one example, or None if it has no one answer for each.
      parameters: Its number of parameters.
      share: Their share of the model's, from 0 to 1.
    """

    name: str
    kind: str
    shape: Shape | None
    parameters: int
    share: float

    @classmethod
    def of(cls, layer: LayerInfo, shape: Shape | None, total: int) -> LayerReport:
        """The report on a layer of a model with that many parameters in all."""
        return cls(layer.path, layer.kind, shape, layer.parameters, layer.parameters / total if total else 0.0)


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
      outputs: Its outputs, which --layer may name, with their shapes where they are known.
      layers: Its layers, likewise, if it tells them.
      tensors: Tensors of its graph, likewise.
      milliseconds: Time per example with TensorFlow on one core of this machine, or None likewise.
      milliseconds_until: Name to such a time for the part of the model up to there; empty without an input.
      notes: What the user should know of how it was read.
      needed: What is still needed, one sentence per flag.
    """

    handle: str
    form: str
    digest: str
    modality: str | None
    parameters: int | None
    preprocessing: Mapping[str, Any] | None
    features: Mapping[str, Shape]
    outputs: Mapping[str, Shape | None]
    layers: tuple[LayerReport, ...]
    tensors: Mapping[str, Shape | None]
    milliseconds: float | None
    milliseconds_until: Mapping[str, float]
    notes: tuple[str, ...]
    needed: tuple[str, ...]


def inspect_model(options: ModelOptions, input_path: str | None = None) -> ModelReport:
    """Inspects a model.

    Args:
      options: The model and its flags.
      input_path: Examples, as for ``--input`` of extract, on which the parts of the model are timed; or None.

    Raises:
      ModelError: it cannot be fetched, or takes no known modality.
      InputError: there is no usable example in the input.
    """
    artefact = fetch_model(options)
    needed: list[str] = []
    spec: ModelSpec | None = None
    parameters = milliseconds = None
    features: Mapping[str, Shape] = {}
    names = ModelNames(None, {}, (), {})
    try:
        frozen = freeze_artefact(artefact, options)
        parameters = frozen.parameters
        spec = describe_model(options)
        features = spec.outputs
        milliseconds = _milliseconds(spec, frozen.batch)
    except FlagNeededError as error:
        needed.append(str(error))
    try:
        names = list_names(artefact, options)
    except FlagNeededError as error:
        if str(error) not in needed:
            needed.append(str(error))
    total = parameters or sum(layer.parameters for layer, _ in names.layers if "/" not in layer.path)
    return ModelReport(
        handle=options.model,
        form=artefact.form,
        digest=artefact.digest,
        modality=names.modality,
        parameters=parameters,
        preprocessing=spec.modality.preprocessing() if spec else None,
        features=features,
        outputs=names.outputs,
        layers=tuple(LayerReport.of(layer, shape, total) for layer, shape in names.layers),
        tensors=names.tensors,
        milliseconds=milliseconds,
        milliseconds_until=_times(spec, artefact, names, input_path) if spec and input_path else {},
        notes=spec.notes if spec else (),
        needed=tuple(needed),
    )


def _milliseconds(spec: ModelSpec, batch: int | None) -> float:
    """Time per example, from batches in one thread."""
    size = batch or _BATCH
    engine = load_engine(EngineChoice(batch_size=size), spec, 1)
    rows = spec.row_of_each([spec.modality.probe()] * size)
    return milliseconds_per_example(engine, spec.batch(rows), size, _TIMED_SECONDS)


def _times(spec: ModelSpec, artefact: Artefact, names: ModelNames, input_path: str) -> Mapping[str, float]:
    """Milliseconds per example up to each output and layer; up to the last tensors where there are no layers."""
    look = first_look(open_source(input_path), example_files(spec.modality))
    examples = spec.row_of_each(first_examples(look, spec.modality))
    if not examples:
        raise InputError(f"Expected examples to time the model on in {input_path}, found none that can be decoded.")
    wanted = [*names.outputs, *(layer.path for layer, shape in names.layers if shape is not None)]
    if not names.layers:
        wanted += list(names.tensors)[-_TIMED_TENSORS:]
    return time_names(artefact, spec.options, list(dict.fromkeys(wanted)), examples)
