"""Tests of files of a store that are read a range at a time."""

from __future__ import annotations

import io
import random
import time
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.runtime import storage
from beam_job.runtime.storage.streaming import in_ranges, streamed
from tests.support.bucket import Bucket

CONTENT = random.Random(0).randbytes(1000)


class Store:
    """Gives parts of a file, and remembers which."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> BinaryIO:
        assert length > 0
        self.asked.append((start, length))
        return io.BytesIO(self.content[start : start + length])


@given(size=st.integers(1, 1000), request=st.integers(1, 400), step=st.integers(1, 500))
def test_a_stream_is_the_file(size: int, request: int, step: int) -> None:
    store = Store(CONTENT[:size])
    with streamed(store, size, request) as file:
        assert b"".join(iter(lambda: file.read(step), b"")) == CONTENT[:size]
    assert sorted(store.asked) == [(start, min(request, size - start)) for start in range(0, size, request)]


def test_a_reader_that_stops_early_asks_for_no_more() -> None:
    store = Store()
    with streamed(store, 1000, 300) as file:
        assert file.read(1) == CONTENT[:1]
        assert file.peek(1)  # the buffer is larger than the file's ranges, and reads one of them at a time
    time.sleep(0)
    assert len(store.asked) <= 2


@given(
    ranges=st.lists(st.tuples(st.integers(0, 999), st.integers(1, 300)), max_size=6),
    places=st.lists(st.tuples(st.integers(0, 999), st.integers(1, 300)), max_size=12),
    request=st.integers(1, 400),
)
def test_any_place_is_that_of_the_file(
    ranges: list[tuple[int, int]], places: list[tuple[int, int]], request: int
) -> None:
    store = Store()
    ranges = [(start, min(length, 1000 - start)) for start, length in ranges]
    with in_ranges(store, 1000, ranges, request) as file:
        for start, length in places:
            file.seek(start)
            assert file.read(length) == CONTENT[start : start + length]
    covered = [byte for start, length in store.asked for byte in range(start, start + length)]
    inside = {byte for start, length in ranges for byte in range(start, start + length)}
    assert len([byte for byte in covered if byte in inside]) == len({byte for byte in covered if byte in inside})


def test_a_file_of_a_bucket(bucket: Bucket) -> None:
    url = bucket.write("streamed/file.bin", CONTENT * 100)
    info = storage.info_of(url)
    assert info.size == 100_000
    with storage.open_stream(info, 7000) as file:
        assert file.read() == CONTENT * 100
    with storage.open_random(info, [(50, 500), (90_000, 10_000)], 4000) as file:
        file.seek(99_000)
        assert file.read() == CONTENT
        file.seek(60)
        assert file.read(100) == CONTENT[60:160]
    with pytest.raises(FileNotFoundError):
        storage.info_of(bucket.url("streamed/nothing.bin"))


def test_a_file_that_became_shorter_is_an_error() -> None:
    with pytest.raises(EOFError), streamed(Store(CONTENT[:500]), 1000, 300) as file:
        file.read()
