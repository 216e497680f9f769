"""Ways to call a SavedModel, and which of them takes examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.suggestions import did_you_mean
from beam_job.core.values import DEFAULT_LAYER
from beam_job.modalities.base import ModelInput
from beam_job.modalities.selection import find_modality, modality_of
from beam_job.models.loaders.base import SWITCHES, LoadedModel

CALL = ""  # the name of a model's own call, which no signature has
# The signatures that take examples are preferred in this order.
_PREFERRED = (CALL, "serving_default", "serve", "image_feature_vector", "default")


@dataclasses.dataclass(frozen=True)
class EntryPoint:
    """A way to call a model.

    Attributes:
      name: The name of the signature; ``CALL`` for the model's own call.
      inputs: Its inputs but for switches to training, each with the shapes that it may have.
      outputs: The names of its outputs.
      call: From a batch to its outputs by name; with one input only.
    """

    name: str
    inputs: Mapping[str, tuple[ModelInput, ...]]
    outputs: tuple[str, ...]
    call: Callable[[Any], Mapping[str, Any]]

    @property
    def label(self) -> str:
        """What it is, for messages."""
        return f"its signature {self.name!r}" if self.name else "its call"

    def only_input(self) -> tuple[ModelInput, ...]:
        """The shapes of its one input.

        Raises:
          ModelError: there are several inputs, or none.
        """
        if len(self.inputs) != 1:
            found = ", ".join(self.inputs) or "none"
            raise ModelError(f"Expected a model with one input; {self.label} has {found}.")
        (found_input,) = self.inputs.values()
        return found_input

    def takes_examples(self) -> bool:
        """Whether it has one input, which some modality fills."""
        return len(self.inputs) == 1 and find_modality(self.only_input()[0]) is not None


def declared_input(name: str, spec: Any) -> ModelInput:
    """An input from its TensorSpec."""
    return ModelInput(name, spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape.as_list()))


def is_switch(declared: ModelInput) -> bool:
    """Whether an input switches the model to training."""
    return declared.name in SWITCHES and declared.dtype == "bool" and not declared.shape


def fed_inputs(declared: Iterable[ModelInput]) -> dict[str, tuple[ModelInput, ...]]:
    """The inputs of a signature that are given values, by name: those that are no switches."""
    return {argument.name: (argument,) for argument in declared if not is_switch(argument)}


def loaded_model(
    points: Sequence[EntryPoint], signature: str | None, owner: Any, parameters: int | None = None
) -> LoadedModel:
    """A model that is called through the entry point that takes examples, or through the one that is wanted.

    The outputs of the other entry points that take the same input are known by name too.

    Args:
      points: Its entry points.
      signature: The name of the one that is wanted, or None.
      owner: See :class:`LoadedModel`.
      parameters: See there.

    Raises:
      ModelError: there is none that takes examples, or several of the same rank.
    """
    main = _chosen(points, signature)
    inputs = main.only_input()
    modality_of(inputs[0])
    alike = [point for point in points if point.takes_examples() and _same(point.only_input()[0], inputs[0])]
    providers: dict[str, EntryPoint] = {}
    for point in sorted(alike, key=_rank, reverse=True):  # the preferred one overwrites the others
        providers.update({name: point for name in point.outputs if name != DEFAULT_LAYER})
    providers.update(dict.fromkeys(main.outputs, main))

    def call(batch: Any, names: Sequence[str]) -> Mapping[str, Any]:
        wanted = {name: providers[name] for name in names if name in providers}
        called = {point.name: point for point in wanted.values()}
        answers = {name: point.call(batch) for name, point in called.items()}
        return {name: answers[point.name][name] for name, point in wanted.items()}

    others = [name for name in providers if name not in main.outputs]
    return LoadedModel(inputs, (*main.outputs, *others), call, owner, parameters=parameters)


def _rank(point: EntryPoint) -> int:
    return _PREFERRED.index(point.name) if point.name in _PREFERRED else len(_PREFERRED)


def _same(one: ModelInput, other: ModelInput) -> bool:
    return (one.dtype, one.shape and one.shape[1:]) == (other.dtype, other.shape and other.shape[1:])


def _chosen(points: Sequence[EntryPoint], signature: str | None) -> EntryPoint:
    """The entry point that is wanted, or the preferred one of those that take examples."""
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
    fit = [point for point in ranked if point.takes_examples()]
    if not fit:
        return ranked[0]  # its own sentence says what it takes
    best = [point for point in fit if _rank(point) == _rank(fit[0])]
    if len(best) > 1:
        raise ModelError(
            f"The model has several signatures that take examples; choose with --signature: "
            f"{', '.join(sorted(point.name for point in best))}."
        )
    return best[0]
