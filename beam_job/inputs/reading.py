"""Reads the bytes of an example, wherever its ref says that it is."""

from __future__ import annotations

from collections.abc import Sequence

from beam_job.core.errors import AccessDeniedError, BadReferenceError, NotFoundError, OutsideRootsError, ReadError
from beam_job.core.records import ExampleRef
from beam_job.inputs.clips import read_clip
from beam_job.inputs.registry import INPUTS
from beam_job.runtime import storage


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
            return INPUTS.get(kind).read_member(ref.uri, place)
        if not is_allowed(ref, allowed_roots):
            raise OutsideRootsError(f"expected a file below {' or '.join(allowed_roots)}, found {ref.uri}")
        return storage.read_bytes(ref.uri) if ref.start is None else read_clip(ref.uri, ref.start, ref.end)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file at {ref.uri}") from None
    except PermissionError:
        raise AccessDeniedError(f"these credentials do not allow to read the file at {ref.uri}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte, or a scheme that Beam does not know
        raise ReadError(f"the file at {ref.uri} cannot be read: {error}") from None
