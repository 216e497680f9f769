"""What a model source is."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A model on this machine, before it is loaded.

    Attributes:
      form: The loader that reads it, by its name in the registry.
      path: Its file or directory, or the name of an architecture.
      digest: Hash that identifies its content; the same on every machine.
      size: The image size that its publisher recommends, or None.
      convention: How its publisher maps examples to numbers, in the modality's own terms, or None.
      weights: A weights file beside the architecture, or None.
      rate: Samples of sound per second that its publisher documents, or None.
      notes: What the user should know of how it was found.
      preprocessor: The model that turns examples into what this one takes, or None. The digest is that of both.
    """

    form: str
    path: str
    digest: str
    size: ImageSize | None = None
    convention: Any = None
    weights: str | None = None
    rate: int | None = None
    notes: tuple[str, ...] = ()
    preprocessor: Artefact | None = None


class ModelSource(Protocol):
    """Fetches handles of one kind; used as a class, without instances."""

    @staticmethod
    def matches(handle: str) -> bool:
        """Whether the source knows this kind of handle; nothing is fetched."""

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        """The model behind ``options.model``, on this machine.

        Raises:
          ModelError: it cannot be fetched.
        """
