"""What a container format is: how a file of it is cut into pieces, and how the examples in a piece are read."""

from __future__ import annotations

import abc
import dataclasses
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from beam_job.core.errors import DamagedContainerError
from beam_job.core.records import Content, ErrorRow, ExampleRef, PassedOver, Piece
from beam_job.inputs.base import Columns, ExampleFiles
from beam_job.runtime import storage
from beam_job.runtime.retries import TransientError
from beam_job.runtime.storage import FileInfo

# What says that a store, or a permission, and not the file is at fault: the run ends, and can be resumed.
UNREADABLE = (FileNotFoundError, PermissionError, TransientError)
# What reading a damaged, or a damaged compressed, file raises.
DAMAGED_STREAM = (OSError, EOFError, ValueError, OverflowError, zlib.error, lzma.LZMAError)
# A member of a container that is longer, in bytes, is no example.
LONGEST_MEMBER = 1 << 30


class ContainerFormat(abc.ABC):
    """Reads files of a format. Holds what the user calls the parts of an example, and nothing else.

    Attributes:
      suffixes: The ends of the names of its files, in lower case.
      takes: The options of :class:`Columns` that it has a use for.
    """

    suffixes: ClassVar[tuple[str, ...]]
    takes: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def is_named(cls, path: str) -> bool:
        """Whether a file, or those that a pattern stands for, are of the format by their names."""
        return path.lower().endswith(cls.suffixes)

    @classmethod
    def describes(cls, name: str) -> bool:
        """Whether a file of this name beside the files of the format is read with them."""
        return False

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def reading(self) -> dict[str, Any]:
        """What decides how a piece is read, beside the piece itself; as JSON."""
        named = {name: getattr(self.columns, name) for name in sorted(self.takes)}
        return {name: None if value is None else str(value) for name, value in named.items()}

    def vocabulary(self, info: FileInfo) -> Sequence[str] | None:
        """The labels, in the order of their numbers, if the file numbers them; None for a damaged file too."""
        return None

    def description(self, info: FileInfo) -> Any:
        """What other files say of the examples in a file, as JSON; None for nothing."""
        return None

    def check_examples(self, infos: Sequence[FileInfo], files: ExampleFiles) -> None:  # noqa: B027 - most need no check
        """Checks, on the first file that is not damaged, that it can be told what the examples are.

        Raises:
          InputError: it cannot.
        """

    def places(self, info: FileInfo) -> Iterator[str]:
        """The pieces of a file, in their order, which is that of the texts too; by default the whole file is one.

        A file that is damaged has a piece, too, so that it gets its row.
        """
        yield ""

    @abc.abstractmethod
    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        """The examples in a piece; as :meth:`Container.members`."""


def runs(sizes: Iterable[int], most: int) -> Iterator[str]:
    """The places of pieces that are runs of parts, by the numbers of their first and last parts.

    >>> list(runs([3, 3, 9, 1], 8))
    ['00000000-00000001', '00000002-00000002', '00000003-00000003']

    Args:
      sizes: The length of each part.
      most: The most that a run may have together; a longer part is a run of its own.
    """
    first, last, total = 0, -1, 0
    for last, size in enumerate(sizes):
        if total and total + size > most:
            yield f"{first:08d}-{last - 1:08d}"
            first, total = last, 0
        total += size
    if last >= 0:
        yield f"{first:08d}-{last:08d}"


# The place of the only piece of a file of which it is not known what is in it.
WHOLE_RUN = f"{0:08d}-{0:08d}"


def lost(piece: Piece, name: str, problem: str, count: int = 0) -> Content:
    """The row for examples that are lost.

    Args:
      piece: The piece that they are in.
      name: What makes the row's id unique in the container.
      problem: Why they are lost.
      count: How many they are, if that is known.
    """
    ref = ExampleRef(f"{piece.name} ({name})", piece.uri, split=piece.split, version=piece.version)
    return ref, dataclasses.replace(ErrorRow.of(ref, DamagedContainerError(problem)), lost=count)


def info_of(piece: Piece) -> FileInfo:
    """The file that a piece is in."""
    return FileInfo(piece.uri, piece.version, piece.size)
