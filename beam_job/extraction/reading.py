"""Reads examples for the work: each with its ref, or with the error row for it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import ExampleError
from beam_job.core.records import ErrorRow, ExampleRef
from beam_job.inputs.reading import read_example
from beam_job.modalities.base import Modality

Content = tuple[ExampleRef, bytes | ErrorRow]


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
