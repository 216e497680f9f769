"""From a SavedModel to one graph without variables: pixels in, named arrays out.

Variables become constants, so that oneDNN lays weights out once rather than at every call, and so that an engine
other than TensorFlow can read the graph. Training-only behaviour is off: models are called with ``training=False``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from beam_job.errors import ModelError
from beam_job.models.base import FEATURE
from beam_job.options import ImageSize, nearest
from beam_job.tensorflow_runtime import import_tensorflow

_DEFAULT_SIGNATURES = ("serving_default", "default", "image_feature_vector")


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A serialized ``GraphDef`` with the names of its input and output tensors."""

    graph: bytes
    input: str
    outputs: Mapping[str, str]


def input_size(path: Path, layer: str | None) -> ImageSize | None:
    """Height and width that the model's own input fixes, or None when it takes any."""
    _, shape, _ = _entry_point(_load(path), layer)
    if shape is None or shape[1] is None or shape[2] is None:
        return None
    return ImageSize(shape[1], shape[2])


def freeze(path: Path, size: ImageSize, layer: str | None) -> Frozen:
    """Freezes a SavedModel for images of one size.

    Args:
      path: The SavedModel's directory.
      size: Height and width of the input.
      layer: Which output, when there are several.

    Returns:
      The graph from float32 [B, height, width, 3] to float32 outputs.

    Raises:
      ModelError: the model is no image model that can be frozen, or the output must be named.
    """
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = _load(path)
    call, _, dtype = _entry_point(model, layer)

    def entry(images: Any) -> Any:
        if dtype.is_integer:
            images = tf.round(images)
        answer = call(tf.cast(images, dtype))
        return {FEATURE: tf.cast(_chosen(answer, layer), tf.float32)}

    spec = tf.TensorSpec([None, size.height, size.width, 3], tf.float32, name="images")
    try:
        concrete = tf.function(entry, autograph=False).get_concrete_function(spec)
        frozen = convert_variables_to_constants_v2(concrete)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelError(f"The model at {path} cannot be called on {size} RGB images: {_first_line(error)}") from None
    outputs = {name: tensor.name for name, tensor in concrete.structured_outputs.items()}
    names = dict(zip(sorted(outputs), (tensor.name for tensor in frozen.outputs), strict=True))
    return Frozen(frozen.graph.as_graph_def().SerializeToString(), frozen.inputs[0].name, names)


def _load(path: Path) -> Any:
    tf = import_tensorflow()
    try:
        return tf.saved_model.load(str(path))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ModelError(f"The SavedModel at {path} cannot be loaded: {_first_line(error)}") from None


def _entry_point(model: Any, layer: str | None) -> tuple[Callable[[Any], Any], list[int | None] | None, Any]:
    """How to call a loaded model: a function of the images, their shape as far as it is fixed, and their type.

    A model that can be called (TF Hub's reusable form) is called; otherwise it has a signature by name.
    """
    tf = import_tensorflow()
    if callable(model) and layer is None:
        specs = [_image_spec(function.structured_input_signature) for function in _concrete_functions(model)]
        specs = [spec for spec in specs if spec is not None]
        shape = specs[0].shape.as_list() if specs else None
        dtype = specs[0].dtype if specs else tf.float32
        return (lambda images: _call(model, images)), shape, dtype
    name, signature = _signature(model)
    _, inputs = signature.structured_input_signature
    if len(inputs) != 1:
        found = ", ".join(inputs)
        raise ModelError(f"Expected a model with one input, the images; its signature {name!r} has {found}.")
    ((argument, spec),) = inputs.items()
    if spec.shape.rank not in (None, 4) or not (spec.dtype.is_floating or spec.dtype.is_integer):
        raise ModelError(
            f"Expected a model of images [B, H, W, 3], found an input {argument!r} of {spec.dtype.name} {spec.shape}."
        )
    shape = spec.shape.as_list() if spec.shape.rank else None
    return (lambda images: signature(**{argument: images})), shape, spec.dtype


def _concrete_functions(model: Any) -> list[Any]:
    return list(getattr(model.__call__, "concrete_functions", []))


def _image_spec(signature: Any) -> Any:
    """The first argument's spec when it is a batch of images."""
    positional, _ = signature
    spec = positional[0] if positional else None
    shape = getattr(spec, "shape", None)
    return spec if shape is not None and shape.rank == 4 else None


def _call(model: Any, images: Any) -> Any:
    """Calls a reusable SavedModel in inference mode; one without a ``training`` argument has no other."""
    try:
        return model(images, training=False)
    except (TypeError, ValueError):
        return model(images)


def _signature(model: Any) -> tuple[str, Any]:
    signatures = dict(getattr(model, "signatures", {}))
    for name in _DEFAULT_SIGNATURES:
        if name in signatures:
            return name, signatures[name]
    if len(signatures) == 1:
        return next(iter(signatures.items()))
    found = ", ".join(sorted(signatures)) or "none"
    raise ModelError(f"Expected a model that can be called, or a signature serving_default; its signatures: {found}.")


def _chosen(answer: Any, layer: str | None) -> Any:
    """The one output that is asked for."""
    if not isinstance(answer, Mapping):
        return answer[0] if isinstance(answer, (list, tuple)) and len(answer) == 1 else answer
    if layer is not None:
        if layer not in answer:
            found = ", ".join(sorted(answer))
            raise ModelError(f"The model has no output {layer!r}{nearest(layer, dict(answer))} (outputs: {found})")
        return answer[layer]
    if len(answer) == 1:
        return next(iter(answer.values()))
    if "default" in answer:
        return answer["default"]
    raise ModelError(f"The model has several outputs; choose one with --layer: {', '.join(sorted(answer))}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
