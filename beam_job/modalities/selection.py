"""Selects the modality that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.records import Shape
from beam_job.modalities.base import InputRequest, Modality, ModelInput
from beam_job.modalities.registry import MODALITIES


def find_modality(declared: ModelInput, wanted: str | None = None) -> type[Modality] | None:
    """The modality that a model with this input takes, or None.

    Args:
      declared: The input.
      wanted: The only modality that is asked, by its name; None for all of them.
    """
    if wanted:
        named = MODALITIES.get(wanted)
        return named if named.admits(declared) else None
    return next((modality for modality in MODALITIES.latest_first() if modality.matches(declared)), None)


def modality_of(declared: ModelInput, wanted: str | None = None) -> type[Modality]:
    """The modality that a model with this input takes; arguments as for :func:`find_modality`.

    Raises:
      ModelError: it takes none of them.
    """
    modality = find_modality(declared, wanted)
    if modality is None:
        asked = [MODALITIES.get(wanted)] if wanted else MODALITIES.latest_first()
        takes = " or ".join(modality.takes for modality in asked)
        shape = "of unknown shape" if declared.shape is None else list(declared.shape)
        raise ModelError(
            f"Expected a model of {takes}, found {_description(declared)}: its input {declared.name!r} is "
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
    modality = modality_of(inputs[0], request.modality)
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
        shapes = " and ".join("x".join("any" if length is None else str(length) for length in shape) for shape in fit)
        raise FlagNeededError(
            f"The model {request.handle} was saved for examples of {shapes}; choose with {modality.size_option}."
        )
    assert refusal is not None, "a model has an input"
    raise refusal


def _description(declared: ModelInput) -> str:
    """What a model with an input of no known modality probably is."""
    shape = declared.shape
    if declared.dtype == "string":
        return "one of strings that are not one for each example"
    if not declared.is_number:
        return "another one"
    if shape is None:
        return "one of an unknown shape"
    if len(shape) == 2 and declared.dtype in ("int32", "int64"):
        return "a text model, of the numbers of tokens"
    if len(shape) in (1, 2) or (len(shape) == 3 and shape[2] == 1):
        return "one of plain numbers, or of short pieces of sound (then give --modality=audio)"
    if len(shape) == 3 and shape[2] == 3:
        return "one of a single image, without a batch"
    if len(shape) == 4:
        return f"one of {shape[3]} channels"
    if len(shape) == 5:
        return "a video model"
    return "another one"
