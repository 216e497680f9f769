"""From a handle to a frozen graph that any engine can run.

    handle -> ModelSource.fetch -> a SavedModel on this machine, with its digest and what it declares of itself
           -> freezing          -> one GraphDef without variables: pixels in, named arrays out
           -> the cache         -> each step is done once per machine, whatever the number of processes

A :class:`ModelSpec` is what travels to the workers; :func:`frozen_model` gives the frozen graph for it on any machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from beam_job.cache import cached_directory
from beam_job.errors import ModelError
from beam_job.models.efficientnet_lite import VARIANTS
from beam_job.options import ImageSize, ModelOptions, ValueRange
from beam_job.records import Float32Array
from beam_job.registry import Entry, Registry

FEATURE = "feature"
GRAPH_FILE = "graph.pb"
_SIGNATURE_FILE = "signature.json"
# Rises whenever freezing makes another graph of the same SavedModel, so that older cache entries are not used.
_FREEZING_VERSION = 1
_URL = re.compile(r"https?://")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What the model's input is, as far as pixels are concerned; part of a dataset's identity.

    Attributes:
      size: Height and width in pixels.
      input_range: The values of black and white.
    """

    size: ImageSize
    input_range: ValueRange

    def scale(self, pixels: Float32Array) -> Float32Array:
        """Brings pixels from [0, 255] to the model's range, in place, as the classical ``/ 255.0`` does it."""
        low, high = self.input_range.low, self.input_range.high
        if (low, high) != (0.0, 255.0):
            pixels /= np.float32(255.0 / (high - low))
        if low:
            pixels += np.float32(low)
        return pixels

    def to_json(self) -> dict[str, Any]:
        return {
            "size": [self.size.height, self.size.width],
            "channels": "RGB",
            "input_range": [self.input_range.low, self.input_range.high],
        }


@dataclasses.dataclass(frozen=True)
class LocalModel:
    """A SavedModel on this machine.

    Attributes:
      path: Its directory.
      digest: Hash that stands for its content; the same on every machine.
      size: Side lengths that its publisher declares, or None.
      input_range: Range that its publisher declares, or None.
    """

    path: Path
    digest: str
    size: ImageSize | None = None
    input_range: ValueRange | None = None


class ModelSource(Protocol):
    """Where handles of one kind are fetched from."""

    def fetch(self, handle: str) -> LocalModel:
        """The model behind ``handle``, on this machine.

        Raises:
          ModelError: it cannot be had.
        """


MODEL_SOURCES: Registry[type[ModelSource]] = Registry(
    "kind of model",
    {
        "builtin": Entry("beam_job.models.builtin:BuiltinModel"),
        "tf_hub": Entry("beam_job.models.tf_hub:HubModel", 'pip install "tensorflow-hub" "setuptools<82"'),
        "saved_model": Entry("beam_job.models.saved_model:SavedModel"),
    },
)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as the whole run sees it: small, comparable, the same in every process.

    Attributes:
      handle: What the user called it.
      digest: Hash that stands for its content.
      layer: The output that was asked for, or None for the only one.
      preprocessing: Size and range of its input.
      outputs: Feature name to the shape for one image.
    """

    handle: str
    digest: str
    layer: str | None
    preprocessing: Preprocessing
    outputs: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        return {
            "handle": self.handle,
            "digest": self.digest,
            "layer": self.layer,
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
        }


@dataclasses.dataclass(frozen=True)
class FrozenModel:
    """A graph without variables on this machine's disk.

    Attributes:
      graph: Path of the serialized ``GraphDef``.
      input: Name of the input tensor, float32 [B, H, W, 3].
      outputs: Feature name to the name of its tensor.
    """

    graph: Path
    input: str
    outputs: Mapping[str, str]


def model_kind(handle: str) -> str:
    """Which kind of source a handle asks for."""
    if handle in VARIANTS:
        return "builtin"
    return "tf_hub" if _URL.match(handle) else "saved_model"


def _fetch(handle: str) -> LocalModel:
    return MODEL_SOURCES.get(model_kind(handle))().fetch(handle)


def describe_model(options: ModelOptions) -> ModelSpec:
    """What a model is, from the model itself, its publisher's word and the user's flags, in this order.

    Args:
      options: The handle and the flags.

    Returns:
      The spec; its outputs have no shapes yet, which only running the model can tell for sure.

    Raises:
      ModelError: the model cannot be had, or something is known from nowhere and a flag must say it.
    """
    local = _fetch(options.model)
    size = options.image_size or local.size or _fixed_size(local, options)
    if local.size and options.image_size and options.image_size != local.size:
        raise ModelError(f"The model {options.model} takes {local.size} pixels, found --image_size={size}.")
    if options.input_range and local.input_range and options.input_range != local.input_range:
        raise ModelError(
            f"The model {options.model} takes pixels in {local.input_range}, found --input_range={options.input_range}."
        )
    input_range = options.input_range or local.input_range
    if input_range is None:
        raise ModelError(
            f"The model {options.model} does not tell which values its pixels have; give --input_range=0,1 (the "
            f"convention of TF Hub), --input_range=-1,1 or --input_range=0,255, as its publisher says."
        )
    return ModelSpec(options.model, local.digest, options.layer, Preprocessing(size, input_range), {FEATURE: ()})


def frozen_model(spec: ModelSpec) -> FrozenModel:
    """The frozen graph of a model, from the cache or made now.

    Raises:
      ModelError: the model cannot be had or frozen, or it is not the one that the run began with.
    """
    local = _fetch(spec.handle)
    if local.digest != spec.digest:
        raise ModelError(f"The model {spec.handle} has changed since the run began; start the run again.")
    identity = [_FREEZING_VERSION, spec.digest, spec.layer, str(spec.preprocessing.size)]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        from beam_job.models.freezing import freeze

        frozen = freeze(local.path, spec.preprocessing.size, spec.layer)
        (folder / GRAPH_FILE).write_bytes(frozen.graph)
        (folder / _SIGNATURE_FILE).write_text(json.dumps({"input": frozen.input, "outputs": frozen.outputs}))

    folder = cached_directory("frozen", key, make)
    signature = json.loads((folder / _SIGNATURE_FILE).read_text())
    return FrozenModel(folder / GRAPH_FILE, signature["input"], signature["outputs"])


def _fixed_size(local: LocalModel, options: ModelOptions) -> ImageSize:
    from beam_job.models.freezing import input_size

    size = input_size(local.path, options.layer)
    if size is None:
        raise ModelError(
            f"The model {options.model} takes images of any size; give the one it is to be used with, such as "
            f"--image_size=224."
        )
    return size
