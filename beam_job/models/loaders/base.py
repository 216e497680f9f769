"""What a loaded model looks like to whoever freezes it, whatever form it has on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from beam_job.core.options import DEFAULT_LAYER, ImageSize
from beam_job.runtime.registry import Entry, Registry

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in this process, in inference mode.

    Attributes:
      size: Height and width as far as its own input fixes them.
      dtype: The TensorFlow type of its input.
      outputs: The names that it knows its outputs (and, for Keras, layers) by, with their shapes for one image where
        they are known. ``default`` is among them when one output is meant without being named.
      call: From images [B, H, W, 3] of ``dtype`` and some of those names to a tensor for each name.
      parameters: How many numbers it has learnt, or None when the variables that are read will tell.
      owner: Whatever has to stay alive as long as ``call`` is used.
    """

    size: tuple[int | None, int | None]
    dtype: Any
    outputs: Mapping[str, Shape | None]
    call: Callable[[Any, Sequence[str]], Mapping[str, Any]]
    parameters: int | None
    owner: Any

    @property
    def default_names(self) -> tuple[str, ...]:
        """What to ask for when nobody says: the default output, or else all of them."""
        return (DEFAULT_LAYER,) if DEFAULT_LAYER in self.outputs else tuple(self.outputs)


class Loader(Protocol):
    """Loads an artefact of one form."""

    def __call__(self, path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
        """The model at ``path``.

        Args:
          path: See :class:`beam_job.models.spec.Artefact`.
          weights: Likewise.
          size: The size that it will be used with, for architectures that are built for one.

        Raises:
          ModelError: it cannot be loaded, or is no model of images.
        """


LOADERS: Registry[Loader] = Registry(
    "form of model",
    {
        "saved_model": Entry("beam_job.models.loaders.saved_model:load_saved_model"),
        "tf1_hub": Entry("beam_job.models.loaders.tf1_hub:load_tf1_module"),
        "keras_file": Entry("beam_job.models.sources.keras_file:load_keras_file"),
        "keras_application": Entry("beam_job.models.sources.keras_applications:load_application"),
    },
)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
