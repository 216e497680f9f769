"""The contract of inputs. The test class of an input inherits it and provides ``path``."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest

from beam_job.beam import blocks
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.dataset.originals import example_files
from beam_job.inputs.base import Listing, all_entries, all_refs
from beam_job.inputs.selection import open_source
from beam_job.modalities.image.modality import ImageModality
from beam_job.runtime import storage

IMAGES = example_files(ImageModality)


def list_refs(source: Listing) -> list[ExampleRef]:
    """All refs, sorted by id."""
    return sorted(all_refs(source, IMAGES), key=lambda ref: ref.id)


def list_passed_over(source: Listing) -> Counter[str]:
    """Kind to number of the files that are no images."""
    return Counter(entry.kind for entry in all_entries(source, IMAGES) if isinstance(entry, PassedOver))


class SourceContract:
    """``path``: an input of three images, two of them at ``a/1.jpg`` and ``b/2.png`` below ``root``."""

    @pytest.fixture
    def source(self, path: str) -> Listing:
        source = open_source(path)
        source.check()
        return source

    def test_ids_are_paths_below_the_root(self, source: Listing) -> None:
        assert [ref.id for ref in list_refs(source)][:2] == ["a/1.jpg", "b/2.png"]
        assert len(list_refs(source)) == 3

    def test_uris_can_be_read(self, source: Listing) -> None:
        assert all(storage.exists(ref.uri) for ref in list_refs(source))

    def test_the_source_can_be_pickled(self, source: Listing) -> None:
        assert list_refs(pickle.loads(pickle.dumps(source))) == list_refs(source)

    def test_listing_is_repeatable(self, source: Listing) -> None:
        assert list_refs(source) == list_refs(source)

    def test_units_are_text_that_json_can_hold(self, source: Listing) -> None:
        units = list(source.units())
        assert units
        assert [json.loads(json.dumps(unit)) for unit in units] == units

    def test_notes_are_phrases(self, source: Listing) -> None:
        assert all(note and not note.endswith(".") for note in source.check())

    def test_refs_can_be_packed_into_a_block(self, source: Listing) -> None:
        assert blocks.unpack(blocks.pack(list_refs(source))) == list_refs(source)
