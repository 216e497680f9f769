"""Loads SavedModels: those that can be called, and those that only have signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import DEFAULT_LAYER, ImageSize
from beam_job.models.loaders.base import LoadedModel, Shape, first_line
from beam_job.runtime.tensorflow import import_tensorflow

# The signatures that a model is called through when it cannot be called itself, likeliest first.
SIGNATURES = ("serving_default", "serve", "image_feature_vector", "default")


def load_saved_model(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """A SavedModel, behind its own call where it has one, else behind its likeliest signature.

    The outputs of its other signatures are known by name too.
    """
    tf = import_tensorflow()
    try:
        model = tf.saved_model.load(path)
    except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
        raise ModelError(f"The SavedModel at {path} cannot be loaded: {first_line(error)}") from None
    signatures: dict[str, Any] = dict(getattr(model, "signatures", {}))
    if callable(model):
        functions = [function for function in _concrete_functions(model) if _image_spec(function) is not None]
        spec = _image_spec(functions[0]) if functions else tf.TensorSpec([None, None, None, 3], tf.float32)
        own = _by_name(functions[0].structured_outputs if functions else None)
        main: Callable[[Any], dict[str, Any]] = lambda images: _by_name(_call(model, images))  # noqa: E731
    else:
        name = main_signature(signatures)
        _, spec = _input(signatures[name], name)
        own = _by_name(signatures[name].structured_outputs)
        main = lambda images: _by_name(_call_signature(signatures[name], name, images))  # noqa: E731
    others = {
        output: (name, shape)
        for name in sorted(signatures, key=_rank, reverse=True)  # the likeliest signature has the last word
        for output, shape in _by_name(signatures[name].structured_outputs).items()
        if output not in own
    }

    def call(images: Any, names: Sequence[str]) -> Mapping[str, Any]:
        answers = dict(main(images)) if own.keys() & set(names) else {}
        for name in {others[wanted][0] for wanted in names if wanted in others}:
            found = _by_name(_call_signature(signatures[name], name, images))
            answers.update({wanted: found[wanted] for wanted in names if others.get(wanted, ("",))[0] == name})
        return {wanted: answers[wanted] for wanted in names}

    shapes = {name: _shape(spec) for name, spec in own.items()}
    shapes.update({name: _shape(spec) for name, (_, spec) in others.items()})
    shape = spec.shape.as_list() if spec.shape.rank else [None] * 4
    return LoadedModel((shape[1], shape[2]), spec.dtype, shapes, call, None, model)


def _by_name(answer: Any) -> dict[str, Any]:
    """What a model answers, or the specs of it, by name: ``default`` for one array, ``output_0`` ... for several."""
    if isinstance(answer, Mapping):
        only = {DEFAULT_LAYER: next(iter(answer.values()))} if len(answer) == 1 else {}
        return {**only, **answer}
    if isinstance(answer, (list, tuple)) and len(answer) != 1:
        return {f"output_{number}": part for number, part in enumerate(answer)}
    return {DEFAULT_LAYER: answer[0] if isinstance(answer, (list, tuple)) else answer}


def _rank(name: str) -> int:
    return SIGNATURES.index(name) if name in SIGNATURES else len(SIGNATURES)


def main_signature(signatures: Mapping[str, Any]) -> str:
    """The name of the signature to call a model through.

    Raises:
      ModelError: there is none, or none that is likelier than the others.
    """
    best = min(signatures, key=_rank, default=None)
    if best is None or (_rank(best) == len(SIGNATURES) and len(signatures) > 1):
        found = ", ".join(sorted(signatures)) or "none"
        raise ModelError(
            f"Expected a model that can be called, or a signature {' or '.join(SIGNATURES)}; its signatures: {found}."
        )
    return best


def _input(signature: Any, name: str) -> tuple[str, Any]:
    """Name and spec of a signature's one input."""
    _, inputs = signature.structured_input_signature
    return check_input(name, {argument: (spec, spec.shape, spec.dtype) for argument, spec in inputs.items()})


def check_input(signature: str, inputs: Mapping[str, tuple[Any, Any, Any]]) -> tuple[str, Any]:
    """The name of a signature's one input, and the thing that stands for it.

    Args:
      signature: The signature's name.
      inputs: Name of the input to (thing, TensorShape, DType).

    Raises:
      ModelError: there are several inputs, or the one takes no images.
    """
    if len(inputs) != 1:
        found = ", ".join(inputs) or "none"
        raise ModelError(f"Expected a model with one input, the images; its signature {signature!r} has {found}.")
    ((argument, (thing, shape, dtype)),) = inputs.items()
    channels = shape.as_list()[-1] if shape.rank == 4 else None
    if shape.rank not in (None, 4) or channels not in (None, 3) or not (dtype.is_floating or dtype.is_integer):
        raise ModelError(
            f"Expected a model of images [B, H, W, 3], found an input {argument!r} of {dtype.name} {shape}."
        )
    return argument, thing


def _shape(spec: Any) -> Shape | None:
    shape = getattr(spec, "shape", None)
    return tuple(shape.as_list()[1:]) if shape is not None and shape.rank else None


def _call_signature(signature: Any, name: str, images: Any) -> Mapping[str, Any]:
    argument, spec = _input(signature, name)
    tf = import_tensorflow()
    answer: Mapping[str, Any] = signature(**{argument: tf.cast(images, spec.dtype)})
    return answer


def _concrete_functions(model: Any) -> list[Any]:
    return list(getattr(model.__call__, "concrete_functions", []))


def _image_spec(function: Any) -> Any:
    """The first argument's spec when it is a batch of images."""
    positional, _ = function.structured_input_signature
    spec = positional[0] if positional else None
    shape = getattr(spec, "shape", None)
    return spec if shape is not None and shape.rank == 4 else None


def _call(model: Any, images: Any) -> Any:
    """Calls a reusable SavedModel in inference mode; one without a ``training`` argument has no other."""
    try:
        return model(images, training=False)
    except (TypeError, ValueError):
        return model(images)
