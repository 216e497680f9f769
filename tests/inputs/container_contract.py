"""The contract of inputs that are containers. The test class of a member inherits it and provides ``path``."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from beam_job.core.records import ErrorRow, ExampleRef, PassedOver
from beam_job.inputs.base import Container
from beam_job.inputs.selection import open_source
from tests.inputs.contract import IMAGES

Found = list[tuple[ExampleRef, bytes | ErrorRow]]


def read(source: Container, contents: bool = True) -> Found:
    """Every example in a container."""
    found = (entry for piece in source.pieces() for entry in source.members(piece, IMAGES, contents))
    return [entry for entry in found if not isinstance(entry, PassedOver)]


def by_name(source: Container) -> dict[str, tuple[str | None, bytes | ErrorRow]]:
    """The part of an id behind the name of its container, to label and content."""
    return {ref.id.partition("/")[2]: (ref.label, content) for ref, content in read(source)}


class ContainerContract:
    """``path``: containers with three images, among them ``b"one"`` at ``a/1.jpg`` and ``b"two"`` at ``b/2.png``."""

    @pytest.fixture
    def source(self, path: str) -> Container:
        source = open_source(path)
        assert isinstance(source, Container)
        source.check()
        return source

    def test_examples_have_their_contents(self, source: Container) -> None:
        found = by_name(source)
        assert len(found) == 3
        assert (found["a/1.jpg"][1], found["b/2.png"][1]) == (b"one", b"two")

    def test_ids_are_unique(self, source: Container) -> None:
        ids = [ref.id for ref, _ in read(source)]
        assert len(set(ids)) == len(ids)

    def test_without_contents_the_refs_are_the_same(self, source: Container) -> None:
        assert [ref for ref, _ in read(source, contents=False)] == [ref for ref, _ in read(source)]

    def test_reading_is_repeatable(self, source: Container) -> None:
        assert read(source) == read(source)
        assert source.pieces() == source.pieces()

    def test_the_source_can_be_pickled(self, source: Container) -> None:
        assert read(pickle.loads(pickle.dumps(source))) == read(source)

    def test_pieces_are_in_order_and_json_can_hold_them(self, source: Container) -> None:
        pieces = source.pieces()
        assert [(piece.name, piece.place) for piece in pieces] == sorted((piece.name, piece.place) for piece in pieces)
        assert json.loads(json.dumps([dataclasses.asdict(piece) for piece in pieces]))
        assert json.dumps(source.reading())

    def test_notes_are_phrases(self, source: Container) -> None:
        assert all(note and not note.endswith(".") for note in source.check())
