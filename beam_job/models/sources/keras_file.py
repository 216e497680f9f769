"""Keras models in files: ``.keras`` and ``.h5``, loaded in safe mode, so that none of their code runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import DEFAULT_LAYER, ImageSize, ModelOptions
from beam_job.models.loaders.base import LoadedModel, Shape, first_line
from beam_job.models.sources.saved_model import local_file
from beam_job.models.spec import Artefact
from beam_job.runtime.tensorflow import import_tensorflow


class KerasFile:
    """``FILE.keras`` or ``FILE.h5``, on any filesystem."""

    def fetch(self, options: ModelOptions) -> Artefact:
        path, digest = local_file(options.model)
        return Artefact("keras_file", str(path), digest)


def load_keras_file(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """The model in a Keras file."""
    import_tensorflow()
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what its layers raise
        raise ModelError(f"The Keras file {path} cannot be loaded: {first_line(error)}") from None
    return loaded_keras_model(model)


def loaded_keras_model(model: Any) -> LoadedModel:
    """A Keras model with each of its layers by name.

    Raises:
      ModelError: it does not take one batch of images.
    """
    tf = import_tensorflow()
    import keras

    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ModelError("Expected a Keras model that knows its input, found one that was never built.")
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ModelError(f"Expected a model with one input, the images; it has {names}.")
    (images,) = inputs
    if len(images.shape) != 4 or images.shape[3] not in (None, 3):
        raise ModelError(f"Expected a model of images [B, H, W, 3], found an input of shape {images.shape}.")
    layers = {layer.name: layer for layer in model.layers if len(getattr(layer, "_inbound_nodes", ())) == 1}
    tensors = {name: layer.output for name, layer in layers.items() if _is_one_tensor(layer)}
    if len(model.outputs) == 1:
        tensors[DEFAULT_LAYER] = model.outputs[0]
    outputs: dict[str, Shape | None] = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}

    def call(images: Any, names: Sequence[str]) -> Mapping[str, Any]:
        part = keras.Model(model.inputs, {name: tensors[name] for name in names})
        answer: Mapping[str, Any] = part(images, training=False)
        return answer

    size = (images.shape[1], images.shape[2])
    return LoadedModel(size, tf.as_dtype(images.dtype), outputs, call, model.count_params(), model)


def _is_one_tensor(layer: Any) -> bool:
    output: Any = getattr(layer, "output", None)
    return hasattr(output, "shape") and len(output.shape) >= 2
