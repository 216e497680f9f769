"""Small labelled sets of examples, made without a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from beam_job.core.errors import OutputError, UsageError
from beam_job.core.options import DEFAULT_MODALITY, SampleOptions
from beam_job.modalities.audio.samples import write_instruments
from beam_job.modalities.image.samples import write_digits, write_photographs
from beam_job.modalities.text.samples import write_docstrings


@dataclasses.dataclass(frozen=True)
class SampleSet:
    """A set of examples.

    Attributes:
      modality: What they are.
      write: Writes it into an empty directory, at most so many examples of each class, with a seed of what is drawn;
        gives their number.
    """

    modality: str
    write: Callable[[Path, int, int], int]


# The first one of a modality is its default.
SETS: Mapping[str, SampleSet] = {
    "photographs": SampleSet("image", write_photographs),
    "digits": SampleSet("image", write_digits),
    "docstrings": SampleSet("text", write_docstrings),
    "instruments": SampleSet("audio", write_instruments),
}


def write_samples(directory: str, options: SampleOptions) -> int:
    """Writes a set.

    Args:
      directory: A local directory that does not exist or is empty.
      options: Which set.

    Returns:
      The number of examples written, at ``SPLIT/CLASS/NAME``, or at ``CLASS/NAME`` for digits.

    Raises:
      OutputError: the directory is not empty.
      UsageError: what a set is made from is not installed, or the set is of another modality.
    """
    wanted = options.modality or DEFAULT_MODALITY
    name = options.set or next(name for name, found in SETS.items() if found.modality == wanted)
    chosen = SETS[name]
    if options.modality not in (None, chosen.modality):
        raise UsageError(f"--set={name} are {chosen.modality} examples, found --modality={options.modality}.")
    root = Path(directory)
    if root.exists() and any(root.iterdir()):
        raise OutputError(f"Expected an empty directory for the samples, found files at {directory}.")
    return chosen.write(root, options.examples_per_class, options.seed)
