"""Selects the modality that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.modalities.base import InputRequest, Modality, ModelInput, Shape
from beam_job.modalities.registry import MODALITIES


def find_modality(declared: ModelInput) -> type[Modality] | None:
    """The modality that a model with this input takes, or None."""
    return next((modality for modality in MODALITIES.latest_first() if modality.matches(declared)), None)


def modality_of(declared: ModelInput) -> type[Modality]:
    """The modality that a model with this input takes.

    Raises:
      ModelError: it takes none of them.
    """
    modality = find_modality(declared)
    if modality is None:
        wanted = " or ".join(modality.takes for modality in MODALITIES.latest_first())
        shape = "of unknown shape" if declared.shape is None else list(declared.shape)
        raise ModelError(
            f"Expected a model of {wanted}, found {_description(declared)}: its input {declared.name!r} is "
            f"{declared.dtype} {shape}."
        )
    return modality


def choose_input(inputs: Sequence[ModelInput], request: InputRequest) -> tuple[type[Modality], ModelInput, Shape]:
    """Of the shapes that a model's input may have, the one that was asked for.

    Args:
      inputs: The model's one input, with each of the shapes that it may have.
      request: What the user and the publisher declare.

    Returns:
      The modality, the input, and the shape of one example as the modality gives it.

    Raises:
      FlagNeededError: the model does not fix the shape, or has several, and the request does not either.
      ModelError: it takes no known modality, or the request contradicts it.
    """
    modality = modality_of(inputs[0])
    fit: dict[Shape, ModelInput] = {}
    refusal: ModelError | None = None
    for declared in inputs:
        try:
            fit.setdefault(modality.input_shape(declared, request), declared)
        except ModelError as error:
            refusal = refusal or error
    if len(fit) == 1:
        ((shape, declared),) = fit.items()
        return modality, declared, shape
    if fit:
        shapes = " and ".join("x".join(map(str, shape)) for shape in fit)
        raise FlagNeededError(
            f"The model {request.handle} was saved for examples of {shapes}; choose with {modality.size_option}."
        )
    assert refusal is not None, "a model has an input"
    raise refusal


def _description(declared: ModelInput) -> str:
    """What a model with an input of no known modality probably is."""
    shape = declared.shape
    if declared.dtype == "string":
        return "a text model, or one that takes the bytes of a file"
    if not declared.is_number:
        return "another one"
    if shape is None:
        return "one of an unknown shape"
    if len(shape) == 2 and declared.dtype in ("int32", "int64"):
        return "a text model, of the numbers of tokens"
    if len(shape) in (1, 2) or (len(shape) == 3 and shape[2] == 1):
        return "an audio model, or one of plain numbers"
    if len(shape) == 3 and shape[2] == 3:
        return "one of a single image, without a batch"
    if len(shape) == 4:
        return f"one of {shape[3]} channels"
    if len(shape) == 5:
        return "a video model"
    return "another one"
