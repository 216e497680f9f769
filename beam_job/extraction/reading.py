"""Reads the bytes of examples."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import (
    AccessDeniedError,
    BadReferenceError,
    ExampleError,
    NotFoundError,
    OutsideRootsError,
    ReadError,
)
from beam_job.core.records import ErrorRow, ExampleRef
from beam_job.modalities.base import Modality
from beam_job.runtime import storage

Content = tuple[ExampleRef, bytes | ErrorRow]


def read_example(ref: ExampleRef, allowed_roots: Sequence[str] = ()) -> bytes:
    """The bytes of an example.

    Raises:
      BadReferenceError: the input's entry for the example makes no sense.
      OutsideRootsError: the file is in none of ``allowed_roots``.
      ReadError: the bytes cannot be read.
    """
    if ref.problem is not None:
        raise BadReferenceError(ref.problem)
    try:
        if not storage.is_allowed(ref.uri, allowed_roots):
            raise OutsideRootsError(f"expected a file below {' or '.join(allowed_roots)}, found {ref.uri}")
        return storage.read_bytes(ref.uri)
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


def first_examples(
    refs: Iterable[ExampleRef],
    modality: Modality,
    allowed_roots: Sequence[str] = (),
    count: int = 8,
    tried: int = 64,
) -> list[npt.NDArray[Any]]:
    """The first few examples that can be decoded, as the modality prepares them.

    Args:
      refs: Consumed lazily, at most ``tried`` of them.
      modality: Prepares the examples.
      allowed_roots: Directories that files must be in, if there are any.
      count: How many examples are enough.
      tried: How many refs are tried at most.
    """
    examples: list[npt.NDArray[Any]] = []
    for ref in itertools.islice(refs, tried):
        with contextlib.suppress(ExampleError):
            examples.append(modality.prepare(read_example(ref, allowed_roots)))
        if len(examples) == count:
            break
    return examples
