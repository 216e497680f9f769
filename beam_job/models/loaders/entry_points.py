"""Ways to call a SavedModel, and which of them takes examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.suggestions import did_you_mean
from beam_job.core.values import DEFAULT_LAYER
from beam_job.modalities.base import ModelInput
from beam_job.modalities.selection import find_modality, modality_of
from beam_job.models.loaders.base import SAMPLE_RATE, SWITCHES, Inputs, LoadedModel, LoadRequest
from beam_job.runtime.tensorflow import import_tensorflow

CALL = ""  # the name of a model's own call, which no signature has
# Inputs of an encoder of texts.
_TOKENS = frozenset(("input_word_ids", "input_mask"))
# The signatures that take examples are preferred in this order.
_PREFERRED = (CALL, "serving_default", "serve", "image_feature_vector", "default")


@dataclasses.dataclass(frozen=True)
class EntryPoint:
    """A way to call a model.

    Attributes:
      name: The name of the signature; ``CALL`` for the model's own call.
      inputs: Its inputs but for switches to training, each with the shapes that it may have.
      outputs: The names of its outputs.
      call: From a batch for each input to its outputs by name.
      rate: Samples of sound per second that it declares, or None.
      needs_rate: Whether it is told the rate, in an argument without a default.
    """

    name: str
    inputs: Inputs
    outputs: tuple[str, ...]
    call: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    rate: int | None = None
    needs_rate: bool = False

    @property
    def label(self) -> str:
        """What it is, for messages."""
        return f"its signature {self.name!r}" if self.name else "its call"

    def check(self, request: LoadRequest) -> None:
        """Checks that it takes what the model is given.

        Raises:
          FlagNeededError: it must be told a rate, which is not known.
          ModelError: it has other inputs; the message says which.
        """
        found = ", ".join(self.inputs) or "none"
        if request.fed:
            if not self.takes(request):
                raise ModelError(
                    f"Expected an encoder that takes what --text_preprocessor gives ({', '.join(request.fed)}); "
                    f"{self.label} has the inputs {found}."
                )
        elif len(self.inputs) != 1:
            encodes = set(self.inputs) >= _TOKENS
            advice = ", which a preprocessor of texts gives: name it with --text_preprocessor" if encodes else ""
            raise ModelError(f"Expected a model with one input; {self.label} has {found}{advice}.")
        else:
            modality_of(self.first_input(), request.modality)
            if self.needs_rate and request.sample_rate is None:
                raise FlagNeededError(
                    f"The model {request.handle} is told how many samples there are in a second, and takes any number; "
                    f"give the one to use it with, such as --sample_rate=16000."
                )

    def first_input(self) -> ModelInput:
        """Its only input, or the first of several, in the first of its shapes."""
        return next(iter(self.inputs.values()))[0]

    def takes(self, request: LoadRequest) -> bool:
        """Whether it takes what the model is given: what it is fed, or examples."""
        if request.fed:
            return bool(self.inputs) and set(self.inputs) <= set(request.fed)
        return len(self.inputs) == 1 and find_modality(self.first_input(), request.modality) is not None


def declared_input(name: str, spec: Any) -> ModelInput:
    """An input from its TensorSpec."""
    return ModelInput(name, spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape.as_list()))


def is_switch(declared: ModelInput) -> bool:
    """Whether an input switches the model to training."""
    return declared.name in SWITCHES and declared.dtype == "bool" and not declared.shape


def is_rate(declared: ModelInput) -> bool:
    """Whether an input says how many samples of sound there are in a second."""
    return declared.name == SAMPLE_RATE and declared.is_number and declared.shape == ()


def settings(declared: Iterable[ModelInput], request: LoadRequest) -> dict[str, Any]:
    """The inputs that are the same in every call: switches, which are off, and the rate of sounds."""
    tf = import_tensorflow()
    values: dict[str, Any] = {}
    for argument in declared:
        if is_switch(argument):
            values[argument.name] = tf.constant(False)
        elif is_rate(argument):
            values[argument.name] = tf.constant(request.sample_rate or 0, argument.dtype)
    return values


def fed_inputs(declared: Iterable[ModelInput]) -> Inputs:
    """The inputs of an entry point that are given examples, by name."""
    return {argument.name: (argument,) for argument in declared if not is_switch(argument) and not is_rate(argument)}


def loaded_model(
    points: Sequence[EntryPoint], request: LoadRequest, owner: Any, parameters: int | None = None
) -> LoadedModel:
    """A model that is called through the entry point that takes what it is given, or through the one that is wanted.

    The outputs of the other entry points that take the same input are known by name too.

    Args:
      points: Its entry points.
      request: Names the one that is wanted, if one is, and what the model is fed.
      owner: See :class:`LoadedModel`.
      parameters: See there.

    Raises:
      ModelError: there is none that takes what it is given, or several of the same rank.
    """
    main = _chosen(points, request)
    main.check(request)
    alike = [
        point
        for point in points
        if point.takes(request) and _same(point.inputs, main.inputs) and _knows_rate(point, request)
    ]
    providers: dict[str, EntryPoint] = {}
    for point in sorted(alike, key=_rank, reverse=True):  # the preferred one overwrites the others
        providers.update({name: point for name in point.outputs if name != DEFAULT_LAYER})
    providers.update(dict.fromkeys(main.outputs, main))

    def call(batches: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
        wanted = {name: providers[name] for name in names if name in providers}
        called = {point.name: point for point in wanted.values()}
        answers = {
            name: point.call(dict(zip(point.inputs, (batches[given] for given in _given(point, main)), strict=True)))
            for name, point in called.items()
        }
        return {name: answers[point.name][name] for name, point in wanted.items()}

    others = [name for name in providers if name not in main.outputs]
    outputs = (*main.outputs, *others)
    return LoadedModel(main.inputs, outputs, call, owner, parameters=parameters, rate=main.rate)


def _knows_rate(point: EntryPoint, request: LoadRequest) -> bool:
    """Whether it can be called: it is told no rate, or the rate is known."""
    return not point.needs_rate or request.sample_rate is not None


def _rank(point: EntryPoint) -> int:
    return _PREFERRED.index(point.name) if point.name in _PREFERRED else len(_PREFERRED)


def _given(point: EntryPoint, main: EntryPoint) -> Iterable[str]:
    """What the inputs of an entry point are called in the main one; the one input of both may differ in its name."""
    return point.inputs if len(point.inputs) > 1 else main.inputs


def _same(one: Inputs, other: Inputs) -> bool:
    """Whether two entry points take the same: one input of the same kind, or several of the same names."""
    if len(one) != 1 or len(other) != 1:
        return set(one) == set(other)
    (first, *_), (second, *_) = *one.values(), *other.values()
    return (first.dtype, first.shape and first.shape[1:]) == (second.dtype, second.shape and second.shape[1:])


def _chosen(points: Sequence[EntryPoint], request: LoadRequest) -> EntryPoint:
    """The entry point that is wanted, or the preferred one of those that take what the model is given.

    One that takes numbers is preferred to one that takes strings, which are often the bytes of files.
    """
    signature = request.signature
    names = sorted(point.name for point in points if point.name)
    if signature is not None:
        found = next((point for point in points if point.name == signature), None)
        if found is None:
            known = ", ".join(names) or "none"
            raise ModelError(
                f"The model has no signature {signature!r}{did_you_mean(signature, names) or '.'} It has {known}."
            )
        return found
    ranked = sorted(points, key=_rank)
    if not ranked:
        raise ModelError("Expected a model that can be called, or one with a signature, found neither.")
    fit = [point for point in ranked if point.takes(request)]
    fit = [point for point in fit if point.first_input().is_number] or fit
    if not fit:
        return ranked[0]  # its own sentence says what it takes
    best = [point for point in fit if _rank(point) == _rank(fit[0])]
    if len(best) > 1:
        raise ModelError(
            f"The model has several signatures that take examples; choose with --signature: "
            f"{', '.join(sorted(point.name for point in best))}."
        )
    return best[0]
