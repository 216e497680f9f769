"""The examples that a dataset was made from, as far as its input still has them."""

from __future__ import annotations

from collections.abc import Iterator

from beam_job.core.errors import BeamJobError
from beam_job.core.records import ExampleRef
from beam_job.dataset.reading import Dataset
from beam_job.inputs.base import ExampleFiles, all_refs
from beam_job.inputs.reading import is_allowed
from beam_job.inputs.selection import open_source
from beam_job.modalities.base import Modality
from beam_job.modalities.registry import MODALITIES
from beam_job.runtime import storage


def example_files(modality: Modality | type[Modality]) -> ExampleFiles:
    """Which files are examples of a modality."""
    return ExampleFiles(modality.suffixes, modality.recognises, modality.in_tables, modality.in_clips)


def original_refs(dataset: Dataset) -> Iterator[ExampleRef]:
    """Refs that may be read, listed as they are consumed; none when the input no longer exists."""
    options = dataset.run["options"]
    roots = [storage.absolute(root) for root in options["allowed_roots"]]
    files = example_files(MODALITIES.get(dataset.run["model"]["modality"]))
    try:
        for ref in all_refs(open_source(options["input"], options.get("text_column")), files):
            if ref.problem is None and is_allowed(ref, roots):
                yield ref
    except (BeamJobError, OSError):
        return
