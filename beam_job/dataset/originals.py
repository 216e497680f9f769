"""The examples that a dataset was made from, as far as its input still has them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from beam_job.core.errors import BeamJobError, ReadError
from beam_job.core.records import ErrorRow, ExampleRef
from beam_job.dataset.reading import Dataset
from beam_job.inputs.base import Container, ExampleFiles, Listing, all_members, all_refs
from beam_job.inputs.reading import is_allowed, read_example
from beam_job.inputs.selection import named_columns, open_source
from beam_job.modalities.base import Modality
from beam_job.modalities.registry import MODALITIES
from beam_job.runtime import storage


def example_files(modality: Modality | type[Modality]) -> ExampleFiles:
    """Which files are examples of a modality."""
    return ExampleFiles(modality.suffixes, modality.recognises, modality.in_tables, modality.in_clips)


def originals(dataset: Dataset) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The id of each example that may be read, and what reads it, as they are consumed; none without the input.

    Reading raises ExampleError. What lies in containers is read on the way, so the rest of them should not be drawn.
    """
    options = dataset.run["options"]
    roots = [storage.absolute(root) for root in options["allowed_roots"]]
    modality = MODALITIES.get(dataset.run["model"]["modality"])
    files = example_files(modality)
    try:
        source = open_source(options["input"], named_columns(options))
        if isinstance(source, Listing):
            for ref in all_refs(source, files):
                if ref.problem is None and is_allowed(ref, roots):
                    yield ref.id, functools.partial(_read, modality, ref)
        elif isinstance(source, Container):
            for ref, content in all_members(source, files):
                yield ref.id, functools.partial(_content, content)
    except (BeamJobError, OSError):
        return


def _read(modality: type[Modality], ref: ExampleRef) -> bytes:
    content = read_example(ref)
    return content if ref.box is None else modality.cut(content, ref.box)


def _content(content: bytes | ErrorRow) -> bytes:
    if isinstance(content, ErrorRow):
        raise ReadError(content.message)
    return content
