"""From a handle to a frozen graph that any engine can run.

    handle -> ModelSource.fetch -> an artefact on this machine, with its digest and what its publisher declares
           -> freezing          -> one GraphDef without variables: pixels in, named arrays out
           -> the cache         -> each step is done once per machine, whatever the number of processes

Whatever needs TensorFlow happens in a process of its own, so that the process that asks need not hold it. A
:class:`ModelSpec` is what travels to the workers; :func:`frozen_model` gives the frozen graph for it on any machine.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.options import ImageSize, LayerChoice, ModelOptions
from beam_job.modalities.image.preprocessing import KERAS_CONVENTIONS, RAW, Convention, Preprocessing
from beam_job.models.efficientnet_lite import VARIANTS
from beam_job.runtime.cache import cached_directory, digest_of
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.registry import Entry, Registry

FEATURE = "feature"
GRAPH_FILE = "graph.pb"
DESCRIPTION_FILE = "model.json"
# Rises whenever freezing makes another graph of the same model, so that older cache entries are not used.
_FREEZING_VERSION = 3

_URL = re.compile(r"https?://")
_KERAS_APPLICATION = "keras:"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_KERAS_FILES = (".keras", ".h5", ".hdf5")


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A model on this machine, before it is loaded.

    Attributes:
      form: Which loader of :mod:`beam_job.models.loaders.base` reads it.
      path: Its file or directory, or the name of an architecture.
      digest: Hash that stands for its content; the same on every machine.
      size: Side lengths that its publisher recommends, or None.
      convention: How its publisher has pixels become numbers, or None.
      weights: A weights file beside the architecture, or None.
    """

    form: str
    path: str
    digest: str
    size: ImageSize | None = None
    convention: Convention | None = None
    weights: str | None = None


class ModelSource(Protocol):
    """Where handles of one kind are fetched from."""

    def fetch(self, options: ModelOptions) -> Artefact:
        """The model behind ``options.model``, on this machine.

        Raises:
          ModelError: it cannot be had.
        """


MODEL_SOURCES: Registry[type[ModelSource]] = Registry(
    "kind of model",
    {
        "builtin": Entry("beam_job.models.sources.builtin:BuiltinModel"),
        "tf_hub": Entry("beam_job.models.sources.hub:HubModel"),
        "saved_model": Entry("beam_job.models.sources.saved_model:SavedModelDirectory"),
        "archive": Entry("beam_job.models.sources.saved_model:SavedModelArchive"),
        "keras_file": Entry("beam_job.models.sources.keras_file:KerasFile"),
        "keras_application": Entry("beam_job.models.sources.keras_applications:KerasApplication"),
    },
)


def model_kind(handle: str) -> str:
    """Which kind of source a handle asks for."""
    name = posixpath.basename(handle.rstrip("/")).lower()
    if handle in VARIANTS:
        return "builtin"
    if _URL.match(handle):
        return "tf_hub"
    if handle.startswith(_KERAS_APPLICATION):
        return "keras_application"
    if name.endswith(_ARCHIVES):
        return "archive"
    return "keras_file" if name.endswith(_KERAS_FILES) else "saved_model"


def fetch_model(options: ModelOptions) -> Artefact:
    """The model's artefact on this machine.

    Raises:
      ModelError: it cannot be had.
    """
    kind = model_kind(options.model)
    if options.weights is not None and kind != "keras_application":
        raise ModelError(f"--weights goes with --model=keras:NAME, found --model={options.model}.")
    return MODEL_SOURCES.get(kind)().fetch(options)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as the whole run sees it: small, comparable, the same in every process.

    Attributes:
      options: What the user called it, and which layers were asked for.
      digest: Hash that stands for its content.
      preprocessing: From a picture to its input.
      outputs: Feature name to the shape for one image; -1 where the graph does not fix a length.
    """

    options: ModelOptions
    digest: str
    preprocessing: Preprocessing
    outputs: Mapping[str, tuple[int, ...]]

    @property
    def handle(self) -> str:
        """What the user called the model."""
        return self.options.model

    def to_json(self) -> dict[str, Any]:
        """The fields of ``model`` in run.json."""
        return {
            "handle": self.handle,
            "digest": self.digest,
            "layers": [str(layer) for layer in self.options.layer],
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
        }


@dataclasses.dataclass(frozen=True)
class FrozenModel:
    """A graph without variables on this machine's disk.

    Attributes:
      graph: Path of the serialized ``GraphDef``.
      input: Name of the input tensor, float32 [B, H, W, 3] in the model's convention.
      outputs: Feature name to the name of its tensor.
      shapes: Feature name to its shape for one image, -1 where the graph does not fix a length.
      size: Height and width of the input.
      integer_input: Whether the model itself takes integers, which pixels are rounded to in the graph.
      parameters: How many numbers the model has learnt.
    """

    graph: Path
    input: str
    outputs: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    size: ImageSize
    integer_input: bool
    parameters: int


def describe_model(options: ModelOptions) -> ModelSpec:
    """What a model is, from the model itself, its publisher's word and the user's flags.

    Raises:
      FlagNeededError: something is known from nowhere, and a flag must say it.
      ModelError: the model cannot be had, or a flag contradicts it.
    """
    artefact = fetch_model(options)
    frozen = freeze_artefact(artefact, options)
    convention = _convention(artefact, options, frozen.integer_input)
    preprocessing = Preprocessing(frozen.size, convention, options.resize)
    return ModelSpec(options, artefact.digest, preprocessing, frozen.shapes)


def frozen_model(spec: ModelSpec) -> FrozenModel:
    """The frozen graph of a model, from the cache or made now.

    Raises:
      ModelError: the model cannot be had or frozen, or it is not the one that the run began with.
    """
    artefact = fetch_model(spec.options)
    if artefact.digest != spec.digest:
        raise ModelError(f"The model {spec.handle} has changed since the run began; start the run again.")
    return freeze_artefact(artefact, spec.options)


def freeze_artefact(artefact: Artefact, options: ModelOptions) -> FrozenModel:
    """The frozen graph of an artefact for the size and the layers that ``options`` ask for.

    Raises:
      FlagNeededError: the model takes any size and none is given, or it has several outputs and none is chosen.
      ModelError: the model is no image model that can be frozen.
    """
    size = options.image_size or artefact.size
    arguments = {
        "form": artefact.form,
        "path": artefact.path,
        "weights": artefact.weights,
        "size": [size.height, size.width] if size else None,
        "layers": [[layer.name, layer.pool] for layer in options.layer],
        "names": list(feature_names(options.layer)),
    }
    identity = [_FREEZING_VERSION, artefact.digest, importlib.metadata.version("tensorflow"), arguments["size"]]
    key = digest_of([*identity, arguments["layers"]])

    def make(folder: Path) -> None:
        run_isolated("beam_job.models.freezing:freeze_into", folder=str(folder), handle=options.model, **arguments)

    folder = cached_directory("frozen", key, make)
    found = json.loads((folder / DESCRIPTION_FILE).read_text())
    return FrozenModel(
        graph=folder / GRAPH_FILE,
        input=found["input"],
        outputs=found["outputs"],
        shapes={name: tuple(shape) for name, shape in found["shapes"].items()},
        size=ImageSize(*found["size"]),
        integer_input=found["integer_input"],
        parameters=found["parameters"],
    )


def list_layers(
    artefact: Artefact, options: ModelOptions
) -> tuple[dict[str, tuple[int | None, ...] | None], dict[str, tuple[int | None, ...]]]:
    """What ``--layer`` may name in a model: its own names, and the tensors of its graph, with their shapes.

    Raises:
      FlagNeededError: the model takes any size and none is given.
      ModelError: it cannot be loaded.
    """
    size = options.image_size or artefact.size
    found = run_isolated(
        "beam_job.models.freezing:list_tensors",
        handle=options.model,
        form=artefact.form,
        path=artefact.path,
        weights=artefact.weights,
        size=[size.height, size.width] if size else None,
    )
    outputs = {name: None if shape is None else tuple(shape) for name, shape in found["outputs"].items()}
    return outputs, {name: tuple(shape) for name, shape in found["tensors"].items()}


def feature_names(layers: tuple[LayerChoice, ...]) -> tuple[str, ...]:
    """What the features of the layers are called where they are stored: ``feature``, or one name each.

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


def _convention(artefact: Artefact, options: ModelOptions, integer_input: bool) -> Convention:
    """The convention that flags ask for, or the publisher declares; the two may not contradict each other."""
    if options.preprocess and options.input_range:
        raise ModelError("Give either --input_range or --preprocess, found both.")
    wanted = KERAS_CONVENTIONS[options.preprocess] if options.preprocess else None
    if options.input_range:
        wanted = Convention(options.input_range)
    known = artefact.convention or (RAW if integer_input else None)
    if wanted and known and wanted != known:
        raise ModelError(
            f"The model {options.model} takes pixels in {known.input_range} ({known.channels}"
            f"{', less a mean' if known.mean else ''}); leave out --input_range and --preprocess, or convert the model."
        )
    if not (wanted or known):
        raise FlagNeededError(
            f"The model {options.model} does not tell which values its pixels have; give --input_range=0,1 (the "
            f"convention of TF Hub), --input_range=-1,1, --input_range=0,255 or --preprocess=caffe, as its publisher "
            f"says."
        )
    convention = wanted or known
    assert convention is not None
    return convention
