"""Reads the bytes of an example, wherever its ref says that it is."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from beam_job.core.errors import (
    AccessDeniedError,
    BadReferenceError,
    ExampleError,
    NotFoundError,
    OutsideRootsError,
    ReadError,
)
from beam_job.core.records import Content, ErrorRow, ExampleRef, PassedOver
from beam_job.inputs.base import Container, ExampleFiles, Listing, Source, all_entries, all_found
from beam_job.inputs.clips import read_clip
from beam_job.inputs.registry import INPUTS
from beam_job.runtime import storage

# Entries of a listing that a launch looks at, and examples that are read together with their container.
_LISTED, _HELD, _HELD_BYTES = 1000, 64, 32 << 20


def is_allowed(ref: ExampleRef, allowed_roots: Sequence[str]) -> bool:
    """Whether an example may be read: it is in the input itself, or its file is below one of the roots."""
    return not ref.is_file or storage.is_allowed(ref.uri, allowed_roots)


def read_example(ref: ExampleRef, allowed_roots: Sequence[str] = ()) -> bytes:
    """The bytes of an example; those of a text as it was found, which may not be UTF-8; of a clip, a WAV file.

    Raises:
      BadReferenceError: the input's entry for the example makes no sense.
      OutsideRootsError: the file is in none of ``allowed_roots``.
      ReadError: the bytes cannot be read.
    """
    if ref.problem is not None:
        raise BadReferenceError(ref.problem)
    if ref.text is not None:
        return ref.text.encode("utf-8", "surrogateescape")
    try:
        if ref.member is not None:
            kind, _, place = ref.member.partition(":")
            listing = INPUTS.get(kind)
            assert issubclass(listing, Listing), "members of containers come with their contents"
            return listing.read_member(ref.uri, place)
        if not is_allowed(ref, allowed_roots):
            raise OutsideRootsError(f"expected a file below {' or '.join(allowed_roots)}, found {ref.uri}")
        with storage.confined(allowed_roots):
            return storage.read_bytes(ref.uri) if ref.start is None else read_clip(ref.uri, ref.start, ref.end)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file at {ref.uri}") from None
    except PermissionError:
        raise AccessDeniedError(f"these credentials do not allow to read the file at {ref.uri}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte, or a scheme that Beam does not know
        raise ReadError(f"the file at {ref.uri} cannot be read: {error}") from None


def read_content(ref: ExampleRef, allowed_roots: Sequence[str] = ()) -> Content:
    """The ref with its bytes, or with the error row for it."""
    try:
        return ref, read_example(ref, allowed_roots)
    except ExampleError as error:
        return ref, ErrorRow.of(ref, error)


@dataclasses.dataclass(frozen=True)
class FirstLook:
    """The first entries of an input.

    Attributes:
      entries: The refs, and what was passed over between them.
      held: Id to what a ref stands for, of those that were read already.
      allowed_roots: Directories that the files of the others must be in, if there are any.
    """

    entries: Sequence[ExampleRef | PassedOver]
    held: Mapping[str, bytes | ErrorRow]
    allowed_roots: Sequence[str]

    @property
    def refs(self) -> list[ExampleRef]:
        """The refs alone."""
        return [entry for entry in self.entries if isinstance(entry, ExampleRef)]

    def contents(self, tried: int) -> Iterator[bytes]:
        """The bytes of the examples that can be read, one by one, among so many that are tried."""
        for ref in itertools.islice((ref for ref in self.refs if ref.problem is None), tried):
            found = self.held[ref.id] if ref.id in self.held else read_content(ref, self.allowed_roots)[1]
            if isinstance(found, bytes):
                yield found


def first_look(source: Source, files: ExampleFiles, allowed_roots: Sequence[str] = ()) -> FirstLook:
    """The first entries of an input: many, where they are only listed, and some, where they are read too.

    Args:
      source: The input.
      files: Which files are examples.
      allowed_roots: Directories that files must be in, if there are any.
    """
    if isinstance(source, Listing):
        return FirstLook(list(itertools.islice(all_entries(source, files), _LISTED)), {}, allowed_roots)
    assert isinstance(source, Container)
    source.check_examples(files)
    entries: list[ExampleRef | PassedOver] = []
    held: dict[str, bytes | ErrorRow] = {}
    size = 0
    for found in all_found(source, files, storage.LOOKED_BYTES):
        if isinstance(found, PassedOver):
            entries.append(found)
        else:
            ref, content = found
            entries.append(ref)
            held[ref.id] = content
            size += len(content) if isinstance(content, bytes) else 0
        if len(held) == _HELD or len(entries) == _LISTED or size > _HELD_BYTES:
            break
    return FirstLook(entries, held, allowed_roots)
