"""Loads SavedModels: those that can be called, and those that only have signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.values import DEFAULT_LAYER, ImageSize
from beam_job.modalities.base import ModelInput, Shape
from beam_job.modalities.selection import modality_of
from beam_job.models.loaders.base import LoadedModel, first_line
from beam_job.runtime.tensorflow import import_tensorflow

# The signatures that a model that is not callable is called through, in order of preference.
SIGNATURES = ("serving_default", "serve", "image_feature_vector", "default")


def load_saved_model(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """A SavedModel, through its own call if it has one, otherwise through its preferred signature.

    The outputs of its other signatures are known by name too.
    """
    tf = import_tensorflow()
    try:
        model = tf.saved_model.load(path)
    except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
        raise ModelError(f"The SavedModel at {path} cannot be loaded: {first_line(error)}") from None
    signatures: dict[str, Any] = dict(getattr(model, "signatures", {}))
    declared, own, main = _callable(model) if callable(model) else _signature(signatures)
    others = {
        output: (name, spec)
        for name in sorted(signatures, key=_rank, reverse=True)  # the preferred signature overwrites the others
        for output, spec in _by_name(signatures[name].structured_outputs).items()
        if output not in own
    }

    def call(batch: Any, names: Sequence[str]) -> Mapping[str, Any]:
        answers = dict(main(batch)) if own.keys() & set(names) else {}
        for name in {others[wanted][0] for wanted in names if wanted in others}:
            found = _by_name(_call_signature(signatures[name], name, batch))
            answers.update({wanted: found[wanted] for wanted in names if others.get(wanted, ("",))[0] == name})
        return {wanted: answers[wanted] for wanted in names}

    shapes = {name: _shape(spec) for name, spec in own.items()}
    shapes.update({name: _shape(spec) for name, (_, spec) in others.items()})
    return LoadedModel(declared, shapes, call, None, model)


_Main = tuple[ModelInput, dict[str, Any], Callable[[Any], dict[str, Any]]]


def _callable(model: Any) -> _Main:
    """Input, outputs and call of a reusable SavedModel."""
    functions = [function for function in _concrete_functions(model) if _declared_input(function) is not None]
    known = functions[0] if functions else None
    declared = _declared_input(known) if known else None
    outputs = _by_name(known.structured_outputs if known else None)
    return declared or ModelInput("inputs", "float32", None), outputs, lambda batch: _by_name(_call(model, batch))


def _signature(signatures: Mapping[str, Any]) -> _Main:
    """Input, outputs and call of the preferred signature."""
    name = main_signature(signatures)
    signature = signatures[name]
    declared = _input(signature, name)
    return (
        declared,
        _by_name(signature.structured_outputs),
        lambda batch: _by_name(_call_signature(signature, name, batch)),
    )


def _by_name(answer: Any) -> dict[str, Any]:
    """What a model returns, or its specs, by name: ``default`` for one array, ``output_0`` ... for several."""
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
      ModelError: there is none, or none is preferred.
    """
    best = min(signatures, key=_rank, default=None)
    if best is None or (_rank(best) == len(SIGNATURES) and len(signatures) > 1):
        found = ", ".join(sorted(signatures)) or "none"
        raise ModelError(
            f"Expected a model that can be called, or a signature {' or '.join(SIGNATURES)}; its signatures: {found}."
        )
    return best


def _input(signature: Any, name: str) -> ModelInput:
    """The one input of a signature."""
    _, inputs = signature.structured_input_signature
    return only_input(name, {argument: (spec.dtype, spec.shape) for argument, spec in inputs.items()})


def only_input(signature: str, inputs: Mapping[str, tuple[Any, Any]]) -> ModelInput:
    """The one input of a signature.

    Args:
      signature: The signature's name.
      inputs: Name of the input to its DType and its TensorShape.

    Raises:
      ModelError: there are several inputs, or none.
    """
    if len(inputs) != 1:
        found = ", ".join(inputs) or "none"
        raise ModelError(f"Expected a model with one input; its signature {signature!r} has {found}.")
    ((argument, (dtype, shape)),) = inputs.items()
    return ModelInput(argument, dtype.name, None if shape.rank is None else tuple(shape.as_list()))


def _shape(spec: Any) -> Shape | None:
    shape = getattr(spec, "shape", None)
    return tuple(shape.as_list()[1:]) if shape is not None and shape.rank else None


def _call_signature(signature: Any, name: str, batch: Any) -> Mapping[str, Any]:
    declared, tf = _input(signature, name), import_tensorflow()
    answer: Mapping[str, Any] = signature(**{declared.name: tf.cast(batch, declared.dtype)})
    return answer


def _concrete_functions(model: Any) -> list[Any]:
    return list(getattr(model.__call__, "concrete_functions", []))


def _declared_input(function: Any) -> ModelInput | None:
    """The first argument of a concrete function, when it is what a modality takes."""
    positional, _ = function.structured_input_signature
    spec = positional[0] if positional else None
    shape = getattr(spec, "shape", None)
    if spec is None or shape is None or shape.rank is None:
        return None
    declared = ModelInput(spec.name or "inputs", spec.dtype.name, tuple(shape.as_list()))
    try:
        modality_of(declared)
    except ModelError:
        return None
    return declared


def _call(model: Any, batch: Any) -> Any:
    """Calls a reusable SavedModel in inference mode; a model without a ``training`` argument has no other mode."""
    try:
        return model(batch, training=False)
    except (TypeError, ValueError):
        return model(batch)
