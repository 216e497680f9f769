"""Loads Keras models: files in safe mode, so that none of their code runs here, and Keras Applications by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.values import DEFAULT_LAYER, ImageSize
from beam_job.modalities.base import ModelInput, Shape
from beam_job.models.loaders.base import LoadedModel, first_line
from beam_job.runtime.tensorflow import import_keras

IMAGENET, RANDOM = "imagenet", "none"
_SEED = 0


def load_keras_file(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """The model in a Keras file."""
    keras = import_keras()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers raise
        raise ModelError(f"The Keras file {path} cannot be loaded: {first_line(error)}") from None
    return loaded_keras_model(model)


def load_application(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """The architecture called ``path``, built for images of ``size``, with ``weights``."""
    keras = import_keras()
    assert size is not None, "every application has a default size"
    keras.utils.set_random_seed(_SEED)
    build: Any = getattr(keras.applications, path)
    try:
        model = build(
            include_top=False, weights=None if weights == RANDOM else weights, input_shape=(size.height, size.width, 3)
        )
    except Exception as error:  # Keras raises whatever its layers, h5py and urllib raise
        words = first_line(error)
        if weights == IMAGENET:
            raise ModelError(
                f"The ImageNet weights of {path} are not available ({words}). Download them (the file that ends in "
                f"notop.h5, see keras.io/api/applications) and give the file as --weights, or --weights=none for "
                f"random ones."
            ) from None
        raise ModelError(f"{path} cannot be built at {size} pixels with --weights={weights}: {words}") from None
    return loaded_keras_model(model)


def loaded_keras_model(model: Any) -> LoadedModel:
    """A Keras model with each of its layers by name.

    Raises:
      ModelError: it does not have exactly one input.
    """
    keras = import_keras()
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ModelError("Expected a Keras model that knows its input, found one that was never built.")
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ModelError(f"Expected a model with one input, found {names}.")
    (tensor,) = inputs
    declared = ModelInput(tensor.name, str(tensor.dtype), tuple(tensor.shape))
    layers = {layer.name: layer for layer in model.layers if len(getattr(layer, "_inbound_nodes", ())) == 1}
    tensors = {name: layer.output for name, layer in layers.items() if _is_one_tensor(layer)}
    if len(model.outputs) == 1:
        tensors[DEFAULT_LAYER] = model.outputs[0]
    outputs: dict[str, Shape | None] = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}

    def call(batch: Any, names: Sequence[str]) -> Mapping[str, Any]:
        part = keras.Model(model.inputs, {name: tensors[name] for name in names})
        answer: Mapping[str, Any] = part(batch, training=False)
        return answer

    return LoadedModel(declared, outputs, call, model.count_params(), model)


def _is_one_tensor(layer: Any) -> bool:
    output: Any = getattr(layer, "output", None)
    return hasattr(output, "shape") and len(output.shape) >= 2
