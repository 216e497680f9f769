"""Frozen models: made once per machine, in a separate process, so that this one does not have to hold TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import LayerChoice
from beam_job.modalities.base import Shape
from beam_job.models.sources.base import Artefact
from beam_job.runtime.cache import cache_key, cached_directory
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.versions import library_version

FEATURE = "feature"
GRAPH_FILE = "graph.pb"
DESCRIPTION_FILE = "model.json"
# Increases whenever freezing makes a different graph of the same model, so that older cache entries are not used.
_FREEZING_VERSION = 5


@dataclasses.dataclass(frozen=True)
class FrozenModel:
    """A graph without variables on this machine's disk.

    Attributes:
      graph: Path of the serialized ``GraphDef``.
      input: Name of the input tensor, whose first axis is the batch.
      outputs: Feature name to the name of its tensor.
      shapes: Feature name to its shape for one example, -1 where the graph does not fix a length.
      modality: Name of the modality that the model takes.
      example_shape: Shape of one example in the input, None for a length that is not fixed.
      integer_input: Whether the model itself takes integers; the graph rounds its input to them.
      parameters: Number of parameters of the model.
    """

    graph: Path
    input: str
    outputs: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    modality: str
    example_shape: Shape
    integer_input: bool
    parameters: int

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape of one example, or None when a length is not fixed."""
        lengths = [length for length in self.example_shape if length is not None]
        return tuple(lengths) if len(lengths) == len(self.example_shape) else None

    def to_json(self) -> dict[str, Any]:
        """Everything but the path of the graph."""
        content = dataclasses.asdict(self)
        del content["graph"]
        return content

    @classmethod
    def from_json(cls, graph: Path, content: Mapping[str, Any]) -> FrozenModel:
        """The model that :meth:`to_json` described, with the path of its graph."""
        return cls(
            graph=graph,
            input=content["input"],
            outputs=content["outputs"],
            shapes={name: tuple(shape) for name, shape in content["shapes"].items()},
            modality=content["modality"],
            example_shape=tuple(content["example_shape"]),
            integer_input=content["integer_input"],
            parameters=content["parameters"],
        )


def freeze_artefact(artefact: Artefact, options: ModelOptions) -> FrozenModel:
    """The frozen graph of an artefact for the input size and the layers that ``options`` ask for.

    Raises:
      FlagNeededError: the model takes any size and none is given, or it has several outputs and none is chosen.
      ModelError: the model takes no known modality, or cannot be frozen.
    """
    arguments = {
        **_loading(artefact, options),
        "layers": [[layer.name, layer.pool] for layer in options.layer],
        "names": list(feature_names(options.layer)),
    }
    version = library_version("tensorflow")
    key = cache_key([_FREEZING_VERSION, artefact.digest, version, arguments["size"], arguments["layers"]])

    def make(folder: Path) -> None:
        run_isolated("beam_job.models.freezing:freeze_into", folder=str(folder), **arguments)

    folder = cached_directory("frozen", key, make)
    return FrozenModel.from_json(folder / GRAPH_FILE, json.loads((folder / DESCRIPTION_FILE).read_text()))


def list_layers(artefact: Artefact, options: ModelOptions) -> tuple[dict[str, Shape | None], dict[str, Shape]]:
    """What ``--layer`` may name in a model: its outputs and layers, and the tensors of its graph, with their shapes.

    Raises:
      FlagNeededError: the model takes any size and none is given.
      ModelError: it cannot be loaded.
    """
    found = run_isolated("beam_job.models.freezing:list_tensors", **_loading(artefact, options))
    outputs = {name: None if shape is None else tuple(shape) for name, shape in found["outputs"].items()}
    return outputs, {name: tuple(shape) for name, shape in found["tensors"].items()}


def _loading(artefact: Artefact, options: ModelOptions) -> dict[str, Any]:
    """The arguments with which the separate process loads the artefact; see ``freezing.freeze_into``."""
    size = options.image_size or artefact.size
    return {
        "handle": options.model,
        "form": artefact.form,
        "path": artefact.path,
        "weights": artefact.weights,
        "size": [size.height, size.width] if size else None,
    }


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
