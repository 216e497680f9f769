"""What an input is."""

from __future__ import annotations

import abc
import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from beam_job.core.records import Content, ExampleRef, PassedOver, Piece
from beam_job.core.values import Names
from beam_job.runtime import storage

# For messages about --input.
INPUTS_IN_WORDS = (
    "a directory with a folder per class, a glob, a .csv or .jsonl manifest, a .json of COCO, a .txt file of texts, or "
    "tar, zip, Parquet or TFRecord files"
)
# So many of its first bytes tell what a file is.
HEAD_BYTES = 64
# What systems leave beside the files of their users, in lower case.
_JUNK = frozenset(
    (
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "__macosx",
        "lost+found",
        "system volume information",
        "desktop.ini",
        "ehthumbs.db",
        "thumbs.db",
    )
)
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

        A local file whose suffix does not tell is looked into; in an object store that would be a request per file.
        """
        if self.is_named(path) or (storage.is_local(path) and self.is_recognised(path, lambda: _head(path))):
            return None
        return kind_of(path)

    def is_named(self, path: str) -> bool:
        """Whether a file is an example by its suffix."""
        name = posixpath.basename(path).lower()
        return any(posixpath.splitext(text)[1] in self.suffixes for text in (name, name.partition("?")[0]))  # x.jpg?w=1

    def is_recognised(self, path: str, head: Callable[[], bytes]) -> bool:
        """Whether a file is an example by its first bytes.

        A file of text with another suffix is probably something else, such as a table.
        """
        return not (self.texts and posixpath.splitext(path)[1]) and self.recognises(head())


def kind_of(path: str) -> PassedOver:
    """What a file that is no example is counted as."""
    suffix = posixpath.splitext(posixpath.basename(path).lower())[1]
    if not suffix:
        return PassedOver("without suffix")
    return PassedOver(suffix if _ORDINARY_SUFFIX.fullmatch(suffix) else "with other suffixes")


def _head(path: str) -> bytes:
    try:
        with storage.open_read(path) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the user says of the parts of an example, where they are not as usual; each is an option.

    Attributes:
      text_column: The column of a table with the texts.
      image_column: The column of a table with the examples.
      label_column: The one with the labels.
      id_column: The one with the ids.
      label_key: The member of a sample in a tar file with the label: a suffix, or a dotted path in its ``.json``.
      keep_columns: The columns that are carried to the output.
      root: The directory that relative paths in a table are relative to.
      crops: Whether the boxes in images are the examples; None for no.
    """

    text_column: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    label_key: str | None = None
    keep_columns: Names | None = None
    root: str | None = None
    crops: bool | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of the columns that are carried to the output."""
        return self.keep_columns.names if self.keep_columns else ()

    def named(self) -> list[str]:
        """The options that are given."""
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]


PLAIN_COLUMNS = Columns()


class Source(abc.ABC):
    """An input, made from its path. Small; travels to the workers. Either a :class:`Listing` or a :class:`Container`.

    Attributes:
      has_columns: Whether it is made with :class:`Columns`.
      labels_are_folders: Whether labels are the names of folders, which are classes even if all of them are numbers.
    """

    has_columns: ClassVar[bool] = False
    labels_are_folders: ClassVar[bool] = False

    @property
    def takes(self) -> frozenset[str]:
        """The options of :class:`Columns` that it has a use for."""
        return frozenset()

    @abc.abstractmethod
    def __init__(self, path: str, columns: Columns = PLAIN_COLUMNS) -> None:
        """The input at ``path``, an absolute path or a URL; columns are given only to those that take some."""

    @classmethod
    @abc.abstractmethod
    def matches(cls, path: str) -> bool:
        """Whether this kind of input can list what is at ``path``, an absolute path or a URL."""

    def vocabulary(self) -> Sequence[str] | None:
        """The labels, in the order of their numbers, if the input itself numbers them."""
        return None

    def check(self) -> list[str]:
        """Checks what a launch can check in a moment.

        Returns:
          How the input is understood where its owner may not expect it: phrases, told with the result.

        Raises:
          InputError: the input is wrong as a whole.
        """
        return []


class Listing(Source):
    """An input whose examples lie each for itself: they are listed first, and read one by one.

    Attributes:
      ids_unique: Whether two refs cannot have the same id, by the way ids are made.
    """

    ids_unique: ClassVar[bool]

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


class Container(Source):
    """An input whose examples lie together in files, which are read in one go, a piece at a time."""

    def reading(self) -> dict[str, Any]:
        """What decides how a piece is read, beside the piece itself."""
        return {}

    def description(self, piece: Piece) -> Any:
        """What other files say of the examples in a piece, as JSON; None for nothing."""
        return None

    def check_examples(self, files: ExampleFiles) -> None:
        """Checks what can only be checked when the modality is known.

        Raises:
          InputError: it cannot be told what the examples are.
        """

    @abc.abstractmethod
    def pieces(self) -> list[Piece]:
        """The pieces, in the order in which their shards are numbered.

        Raises:
          InputError: there is none.
        """

    @abc.abstractmethod
    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        """The examples in a piece, in their order, read as they are consumed.

        What is damaged becomes an error row, and the rest is read as far as possible; no two examples have one id.

        Args:
          piece: One of :meth:`pieces`.
          files: Which members are examples of the run's modality.
          contents: Whether the examples themselves are wanted; if not, each is empty, where that saves work.
          request_bytes: The size of a request to a store.
        """


def all_refs(source: Listing, files: ExampleFiles) -> Iterator[ExampleRef]:
    """Every example in an input, part by part, listed as it is consumed; arguments as for :meth:`Listing.refs`."""
    return (entry for entry in all_entries(source, files) if isinstance(entry, ExampleRef))


def all_entries(source: Listing, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
    """Everything in an input; as :func:`all_refs`."""
    return (entry for unit in source.units() for entry in source.refs(unit, files))


def all_members(source: Container, files: ExampleFiles) -> Iterator[Content]:
    """Every example in the containers of an input, piece by piece, read as it is consumed."""
    return (found for found in all_found(source, files) if not isinstance(found, PassedOver))


def all_found(
    source: Container, files: ExampleFiles, request_bytes: int = storage.STREAMED_BYTES
) -> Iterator[Content | PassedOver]:
    """Everything in the containers of an input; as :func:`all_members`."""
    for piece in source.pieces():
        yield from source.members(piece, files, request_bytes=request_bytes)


def readable_id(path: str) -> str:
    r"""An id that is valid Unicode: bytes of a name that are not UTF-8 become ``\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_junk(name: str) -> bool:
    """Whether a file or a folder is hidden, or left behind by a system."""
    return name.startswith(".") or name.lower() in _JUNK
