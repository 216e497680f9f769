"""What a loaded model looks like to freezing, whatever its form on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from beam_job.core.values import DEFAULT_LAYER, ImageSize
from beam_job.modalities.base import ModelInput, Shape


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in this process, in inference mode.

    Attributes:
      input: Its one input.
      outputs: Name to shape for one example, where it is known, of its outputs and, for Keras, its layers. ``default``
        is among them when the model has a default output.
      call: From a batch of the input's type and some of those names to a tensor per name.
      parameters: Number of parameters, or None when it follows from the variables that are read.
      owner: Must stay alive as long as ``call`` is used.
    """

    input: ModelInput
    outputs: Mapping[str, Shape | None]
    call: Callable[[Any, Sequence[str]], Mapping[str, Any]]
    parameters: int | None
    owner: Any

    @property
    def default_names(self) -> tuple[str, ...]:
        """The outputs to ask for when none is chosen: the default output, or else all of them."""
        return (DEFAULT_LAYER,) if DEFAULT_LAYER in self.outputs else tuple(self.outputs)


class Loader(Protocol):
    """Loads an artefact of one form."""

    def __call__(self, path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
        """The model at ``path``.

        Args:
          path: See :class:`beam_job.models.sources.base.Artefact`.
          weights: Likewise.
          size: The image size that it will be used with, for architectures that are built for one.

        Raises:
          ModelError: it cannot be loaded, or does not have exactly one input.
        """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
