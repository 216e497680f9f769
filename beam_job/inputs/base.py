"""What an input is."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator
from typing import ClassVar

from beam_job.core.records import ExampleRef


class Source(abc.ABC):
    """An input, made from its path. Small; travels to the workers, where the listing happens.

    Attributes:
      ids_unique: Whether two refs cannot have the same id, by the way ids are made.
    """

    ids_unique: ClassVar[bool]

    @abc.abstractmethod
    def __init__(self, path: str) -> None:
        """The input at ``path``, an absolute path or a URL."""

    @classmethod
    @abc.abstractmethod
    def matches(cls, path: str) -> bool:
        """Whether this kind of input can list what is at ``path``, an absolute path or a URL."""

    def check(self) -> None:  # noqa: B027 - most inputs have nothing to check
        """Checks what a launch can check in a moment.

        Raises:
          InputError: the input is wrong as a whole.
        """

    @abc.abstractmethod
    def units(self) -> Iterator[str]:
        """Cuts the input into parts that can be listed in parallel."""

    @abc.abstractmethod
    def refs(self, unit: str, suffixes: Collection[str]) -> Iterator[ExampleRef]:
        """Lists one part. An entry that cannot be used becomes a ref with its problem.

        Args:
          unit: One of :meth:`units`.
          suffixes: Suffixes, in lower case, of the files that are examples of the run's modality. Inputs that do not
            name their files one by one take only those.
        """


def all_refs(source: Source, suffixes: Collection[str]) -> Iterator[ExampleRef]:
    """Everything in an input, part by part, listed as it is consumed; arguments as for :meth:`Source.refs`."""
    return (ref for unit in source.units() for ref in source.refs(unit, suffixes))


def readable_id(path: str) -> str:
    r"""An id that is valid Unicode: bytes of a name that are not UTF-8 become ``\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
