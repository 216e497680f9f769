"""Examples of an input, decoded, to try a model on."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import ExampleError
from beam_job.inputs.reading import FirstLook
from beam_job.modalities.base import Modality


def first_examples(look: FirstLook, modality: Modality, count: int = 8, tried: int = 64) -> list[npt.NDArray[Any]]:
    """The first few examples that can be decoded, as the modality prepares them.

    Args:
      look: The start of the input.
      modality: Prepares the examples.
      count: How many examples are enough.
      tried: How many are tried at most.
    """
    examples: list[npt.NDArray[Any]] = []
    for content in look.contents(tried):
        with contextlib.suppress(ExampleError):
            examples.append(modality.prepare(content))
        if len(examples) == count:
            break
    return examples
