"""Frozen models: made once per machine, in a separate process, so that this one does not have to hold TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.records import Shape
from beam_job.core.values import LayerChoice
from beam_job.modalities.base import FirstSteps, ModelInput, save_examples
from beam_job.models.loaders.base import LayerInfo, LoadRequest
from beam_job.models.sources.base import Artefact
from beam_job.runtime.cache import cache_key, cached_directory
from beam_job.runtime.isolation import ProcessDiedError, run_isolated
from beam_job.runtime.tensorflow import died_of
from beam_job.runtime.versions import library_version

FEATURE = "feature"
GRAPH_FILE = "graph.pb"
DESCRIPTION_FILE = "model.json"
# Increases whenever freezing makes a different graph of the same model, so that older cache entries are not used.
_FREEZING_VERSION = 8


@dataclasses.dataclass(frozen=True)
class FrozenModel:
    """A graph without variables on this machine's disk.

    Attributes:
      graph: Path of the serialized ``GraphDef``.
      input: Name of the input tensor, whose first axis is the batch.
      outputs: Feature name to the name of its tensor.
      shapes: Feature name to its shape for one row of the batch, None for a length that differs between rows.
      modality: Name of the modality that the model takes.
      example_shape: Shape of one example in the input, None for a length that is not fixed.
      declared: The input of the model itself, which the graph makes of its own.
      first_steps: The arithmetic that the graph begins with, or None.
      batch: The one number of examples that it must be called with, or None for any.
      parameters: Number of parameters of the model.
      packages: What must be imported for its operations.
      rate: Samples of sound per second that the model itself declares, or None.
      notes: What the user should know of how it was read.
    """

    graph: Path
    input: str
    outputs: Mapping[str, str]
    shapes: Mapping[str, Shape]
    modality: str
    example_shape: Shape
    declared: ModelInput
    first_steps: FirstSteps | None
    batch: int | None
    parameters: int
    packages: tuple[str, ...]
    rate: int | None
    notes: tuple[str, ...]

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape of one example, or None when it does not hold numbers, or a length is not fixed."""
        lengths = [length for length in self.example_shape if length is not None]
        return tuple(lengths) if self.declared.is_number and len(lengths) == len(self.example_shape) else None

    def to_json(self) -> dict[str, Any]:
        """Everything but the path of the graph."""
        content = dataclasses.asdict(self)
        del content["graph"]
        return content

    @classmethod
    def from_json(cls, graph: Path, content: Mapping[str, Any]) -> FrozenModel:
        """The model that :meth:`to_json` described, with the path of its graph."""
        declared, steps = content["declared"], content["first_steps"]
        shape = declared["shape"] and tuple(declared["shape"])
        return cls(
            graph=graph,
            input=content["input"],
            outputs=content["outputs"],
            shapes={name: tuple(shape) for name, shape in content["shapes"].items()},
            modality=content["modality"],
            example_shape=tuple(content["example_shape"]),
            declared=ModelInput(declared["name"], declared["dtype"], shape),
            first_steps=steps and FirstSteps(tuple(steps["factor"]), tuple(steps["offset"])),
            batch=content["batch"],
            parameters=content["parameters"],
            packages=tuple(content["packages"]),
            rate=content["rate"],
            notes=tuple(content["notes"]),
        )


def freeze_artefact(artefact: Artefact, options: ModelOptions) -> FrozenModel:
    """The frozen graph of an artefact for the input size and the layers that ``options`` ask for.

    Raises:
      FlagNeededError: the model takes any size and none is given, or it has several outputs and none is chosen.
      ModelError: the model takes no known modality, or cannot be frozen.
    """
    request, layers = _load_request(artefact, options), [[layer.name, layer.pool] for layer in options.layer]
    versions = library_version("tensorflow"), library_version("keras"), library_version("tf_keras")
    # Paths and what the user calls the model differ between machines; the digest says what it is.
    decides = {**request.to_json(), "handle": None, "weights": None, "preprocessor": None, "path": artefact.digest}
    key = cache_key([_FREEZING_VERSION, versions, decides, layers])

    def make(folder: Path) -> None:
        _in_isolation(
            "beam_job.models.freezing:freeze_into",
            options.model,
            folder=str(folder),
            request=request.to_json(),
            layers=layers,
            names=list(feature_names(options.layer)),
        )

    folder = cached_directory("frozen", key, make)
    return FrozenModel.from_json(folder / GRAPH_FILE, json.loads((folder / DESCRIPTION_FILE).read_text()))


@dataclasses.dataclass(frozen=True)
class ModelNames:
    """What ``--layer`` may name in a model.

    Attributes:
      modality: What it takes, or None as long as a flag is needed to tell.
      outputs: Its outputs, with the shape for one example, None where it is not known.
      layers: Its layers, if it tells them, with such a shape.
      tensors: Tensors of its graph, likewise.
    """

    modality: str | None
    outputs: Mapping[str, Shape | None]
    layers: tuple[tuple[LayerInfo, Shape | None], ...]
    tensors: Mapping[str, Shape | None]


def list_names(artefact: Artefact, options: ModelOptions) -> ModelNames:
    """What ``--layer`` may name in a model.

    Raises:
      FlagNeededError: the model takes any size and none is given.
      ModelError: it cannot be loaded.
    """
    request = _load_request(artefact, options).to_json()
    found = _in_isolation("beam_job.models.freezing:list_names", options.model, request=request)
    layers = tuple(
        (LayerInfo(layer["path"], layer["kind"], layer["parameters"]), _shape(layer["shape"]))
        for layer in found["layers"]
    )
    outputs, tensors = ({name: _shape(shape) for name, shape in found[kind].items()} for kind in ("outputs", "tensors"))
    return ModelNames(found["modality"], outputs, layers, tensors)


def time_names(
    artefact: Artefact, options: ModelOptions, names: Sequence[str], examples: Sequence[npt.NDArray[Any]]
) -> dict[str, float]:
    """Milliseconds per example, with TensorFlow on one core of this machine, for the part of a model up to each name.

    Args:
      artefact: The model.
      options: Its flags.
      names: Outputs, layers and tensors.
      examples: What the modality's ``prepare`` gave.

    Raises:
      ModelError: it cannot be loaded.
    """
    request = _load_request(artefact, options).to_json()
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        save_examples(file.name, examples)
        function, arguments = "beam_job.models.freezing:time_names", {"names": list(names), "examples": file.name}
        times: dict[str, float] = _in_isolation(function, options.model, request=request, **arguments)
    return times


def _shape(shape: list[int | None] | None) -> Shape | None:
    return None if shape is None else tuple(shape)


def _load_request(artefact: Artefact, options: ModelOptions) -> LoadRequest:
    size, first = options.image_size or artefact.size, artefact.preprocessor
    return LoadRequest(
        handle=options.model,
        form=artefact.form,
        path=artefact.path,
        weights=artefact.weights,
        size=(size.height, size.width) if size else None,
        signature=options.signature,
        tags=options.tags.names if options.tags else None,
        trusted=options.trust_model_code,
        modality=options.modality,
        sample_rate=options.sample_rate or artefact.rate,
        audio_window=options.audio_window,
        preprocessor=LoadRequest(options.text_preprocessor or "", first.form, first.path) if first else None,
    )


def _in_isolation(function: str, handle: str, **arguments: Any) -> Any:
    """Runs a function of :mod:`beam_job.models.freezing` in a process of its own, which damaged models may kill."""
    try:
        return run_isolated(function, **arguments)
    except ProcessDiedError as error:
        raise ModelError(died_of(error.signal, handle)) from None


def feature_names(layers: tuple[LayerChoice, ...]) -> tuple[str, ...]:
    """The names under which the features of layers are stored: ``feature``, or a name for each.

    >>> feature_names((LayerChoice("stem"), LayerChoice("top/relu", "avg")))
    ('feature/stem', 'feature/top_relu')
    >>> feature_names((LayerChoice("stem", "avg"), LayerChoice("stem", "max")))
    ('feature/stem_avg', 'feature/stem_max')

    Raises:
      ModelError: two layers would have the same name.
    """
    if len(layers) <= 1:
        return (FEATURE,)
    plain = [re.sub(r"[^A-Za-z0-9_.-]", "_", layer.name) for layer in layers]
    names = [
        f"{FEATURE}/{name}" if plain.count(name) == 1 else f"{FEATURE}/{name}_{layer.pool}"
        for name, layer in zip(plain, layers, strict=True)
    ]
    if len(set(names)) != len(names):
        raise ModelError(f"Two of the layers {', '.join(map(str, layers))} would be stored under the same name.")
    return tuple(names)
