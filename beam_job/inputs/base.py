"""What an input is."""

from __future__ import annotations

import abc
import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import ClassVar

from beam_job.core.records import ExampleRef, PassedOver
from beam_job.runtime import storage

# For messages about --input.
INPUTS_IN_WORDS = "a directory with a folder per class, a glob, a .csv or .jsonl manifest, or a .txt file of texts"
# So many of its first bytes tell what a file is.
_HEAD_BYTES = 64
_ORDINARY_SUFFIX = re.compile(r"\.[a-z0-9_~-]{1,12}")


@dataclasses.dataclass(frozen=True)
class ExampleFiles:
    """Which files are examples of a modality. Small; travels to the workers.

    Attributes:
      suffixes: Suffixes, in lower case, of the files that are examples.
      recognises: Whether a file that begins with these bytes is an example, whatever its name.
      texts: Whether examples are texts, which a table may hold itself.
      clips: Whether examples may be parts of files, from one second to another.
    """

    suffixes: frozenset[str]
    recognises: Callable[[bytes], bool]
    texts: bool = False
    clips: bool = False

    def passed_over(self, path: str) -> PassedOver | None:
        """Why a file is no example, or None for one that is.

        A local file whose suffix does not tell is looked into; in an object store that would be a request per file. A
        file of text with another suffix is probably something else, such as a table.
        """
        name = posixpath.basename(path).lower()
        suffixes = [posixpath.splitext(text)[1] for text in (name, name.partition("?")[0])]  # x.jpg?w=640
        if any(suffix in self.suffixes for suffix in suffixes):
            return None
        suffix = suffixes[0]
        if storage.is_local(path) and not (self.texts and suffix) and self.recognises(_head(path)):
            return None
        if not suffix:
            return PassedOver("without suffix")
        return PassedOver(suffix if _ORDINARY_SUFFIX.fullmatch(suffix) else "with other suffixes")


def _head(path: str) -> bytes:
    try:
        with storage.open_read(path) as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the columns of a table are called.

    Attributes:
      text: The one with the texts.
    """

    text: str = "text"


PLAIN_COLUMNS = Columns()


class Source(abc.ABC):
    """An input, made from its path. Small; travels to the workers, where the listing happens.

    Attributes:
      ids_unique: Whether two refs cannot have the same id, by the way ids are made.
      has_columns: Whether it is a table, whose columns options may name.
    """

    ids_unique: ClassVar[bool]
    has_columns: ClassVar[bool] = False

    @abc.abstractmethod
    def __init__(self, path: str, columns: Columns = PLAIN_COLUMNS) -> None:
        """The input at ``path``, an absolute path or a URL; only a table is given columns."""

    @classmethod
    @abc.abstractmethod
    def matches(cls, path: str) -> bool:
        """Whether this kind of input can list what is at ``path``, an absolute path or a URL."""

    def check(self) -> list[str]:
        """Checks what a launch can check in a moment.

        Returns:
          How the input is understood where its owner may not expect it: phrases, told with the result.

        Raises:
          InputError: the input is wrong as a whole.
        """
        return []

    @classmethod
    def read_member(cls, uri: str, member: str) -> bytes:
        """The bytes of an example that is not a file of its own.

        Args:
          uri: The file that it is in.
          member: Where it is there, as :meth:`refs` said.

        Raises:
          OSError: the file cannot be read.
          ValueError: there is no such example in it any more.
        """
        raise ValueError(f"there are no examples in files of the kind of {uri}")

    @abc.abstractmethod
    def units(self) -> Iterator[str]:
        """Cuts the input into parts that can be listed in parallel."""

    @abc.abstractmethod
    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        """Lists one part. An entry that cannot be used becomes a ref with its problem.

        Args:
          unit: One of :meth:`units`.
          files: Which files are examples of the run's modality. Inputs that do not name their files one by one take
            only those, and tell which they pass over.

        Raises:
          InputError: the input as a whole cannot hold such examples.
        """


def all_refs(source: Source, files: ExampleFiles) -> Iterator[ExampleRef]:
    """Every example in an input, part by part, listed as it is consumed; arguments as for :meth:`Source.refs`."""
    return (entry for entry in all_entries(source, files) if isinstance(entry, ExampleRef))


def all_entries(source: Source, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
    """Everything in an input; as :func:`all_refs`."""
    return (entry for unit in source.units() for entry in source.refs(unit, files))


def readable_id(path: str) -> str:
    r"""An id that is valid Unicode: bytes of a name that are not UTF-8 become ``\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
