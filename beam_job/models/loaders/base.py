"""What a loaded model looks like to freezing, whatever its form on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from beam_job.core.values import DEFAULT_LAYER, ImageSize
from beam_job.modalities.base import ModelInput

# The inputs of a model by name, each with the shapes that it may have.
Inputs = Mapping[str, tuple[ModelInput, ...]]
# Arguments that switch a model to training; called with False.
SWITCHES = frozenset(("training", "is_training", "train"))
# The argument of a model of sounds that says how many samples there are in a second.
SAMPLE_RATE = "sample_rate"


@dataclasses.dataclass(frozen=True)
class LoadRequest:
    """Which model a loader loads, and how; travels to a separate process as JSON.

    Attributes:
      handle: What the user calls the model, for messages.
      form: The loader, by its name in the registry.
      path: See :class:`beam_job.models.sources.base.Artefact`; weights likewise.
      weights: See there.
      size: Height and width of images, or None for what the model itself fixes.
      signature: The signature to call a SavedModel through, or None.
      tags: The tags of the graph of a SavedModel that holds several, or None.
      trusted: Whether code that the model holds may run.
      modality: The modality that the user names, or None.
      sample_rate: Samples of sound per second that the user or the publisher names, or None.
      audio_window: Seconds of sound that the model is given at a time, or None for what it takes.
      fed: The names of what another model answers that this one takes; empty for one that takes examples.
      preprocessor: The model that turns examples into what this one takes, or None.
    """

    handle: str
    form: str
    path: str
    weights: str | None = None
    size: tuple[int, int] | None = None
    signature: str | None = None
    tags: tuple[str, ...] | None = None
    trusted: bool = False
    modality: str | None = None
    sample_rate: int | None = None
    audio_window: float | None = None
    fed: tuple[str, ...] = ()
    preprocessor: LoadRequest | None = None

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LoadRequest:
        """The request that :meth:`to_json` described."""
        lists = {name: content[name] and tuple(content[name]) for name in ("size", "tags", "fed")}
        preprocessor = content["preprocessor"] and cls.from_json(content["preprocessor"])
        return cls(**{**content, **lists, "preprocessor": preprocessor})

    @property
    def image_size(self) -> ImageSize | None:
        """``size`` as an option has it."""
        return ImageSize(*self.size) if self.size else None


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """A layer of a model.

    Attributes:
      path: Its name, after the names of the models that it is in: ``backbone/block_13``.
      kind: Its class.
      parameters: How many numbers it was trained to, those of the layers in it included.
    """

    path: str
    kind: str
    parameters: int


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in this process, in inference mode.

    Attributes:
      inputs: Its inputs by name, each with the shapes that it was traced for; one, unless it is fed by another model.
      outputs: Names of its outputs. ``default`` is among them when it has a default output.
      call: From a batch for each input and some names to a tensor for each of those that the model has; names are those
        of outputs and layers.
      owner: What holds its variables and tables, or a tuple of those; must stay alive as long as ``call`` is used.
      layers: Its layers, if it tells them.
      parameters: Number of parameters, or None when it follows from the variables that are read.
      notes: What the user should know of how it was read.
      mask: The name, in ``call``, of what is 1 for each position of a sequence that counts and 0 for what fills it up,
        [B, S]. None if the model does not tell.
      rate: Samples of sound per second that it declares, or None.
    """

    inputs: Inputs
    outputs: tuple[str, ...]
    call: Callable[[Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
    owner: Any
    layers: tuple[LayerInfo, ...] = ()
    parameters: int | None = None
    notes: tuple[str, ...] = ()
    mask: str | None = None
    rate: int | None = None

    @property
    def owners(self) -> tuple[Any, ...]:
        """What holds its variables and tables."""
        return self.owner if isinstance(self.owner, tuple) else (self.owner,)

    @property
    def only_input(self) -> tuple[ModelInput, ...]:
        """The shapes of its one input."""
        (shapes,) = self.inputs.values()
        return shapes

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that ``call`` knows."""
        return tuple(dict.fromkeys((*self.outputs, *(layer.path for layer in self.layers))))

    @property
    def default_names(self) -> tuple[str, ...]:
        """The outputs to ask for when none is chosen: the default output, or else all of them."""
        return (DEFAULT_LAYER,) if DEFAULT_LAYER in self.outputs else self.outputs


class Loader(Protocol):
    """Loads an artefact of one form."""

    def __call__(self, request: LoadRequest) -> LoadedModel:
        """The model.

        Raises:
          ModelError: it cannot be loaded, or does not have exactly the inputs that it is given.
        """


def by_name(answer: Any) -> dict[str, Any]:
    """What a model answers, or its specifications, by name.

    ``default`` for one array, ``output_0`` and so on for several; what is nested is divided by a slash.

    >>> by_name({"boxes": 1, "scores": [2, 3]})
    {'boxes': 1, 'scores/output_0': 2, 'scores/output_1': 3}
    >>> by_name([{"embedding": 1}])
    {'default': 1, 'embedding': 1}
    """
    if isinstance(answer, (list, tuple)) and len(answer) == 1:
        return by_name(answer[0])
    if isinstance(answer, (list, tuple)):
        answer = {f"output_{number}": part for number, part in enumerate(answer)}
    if not isinstance(answer, Mapping):
        return {DEFAULT_LAYER: answer}
    flat: dict[str, Any] = {}
    for name, part in answer.items():
        for inner, value in by_name(part).items():
            if inner != DEFAULT_LAYER:
                flat[f"{name}/{inner}"] = value
            elif not isinstance(part, Mapping):
                flat[name] = value
    only = {DEFAULT_LAYER: next(iter(flat.values()))} if len(flat) == 1 else {}
    return {**only, **flat}
