"""What containers in a bucket cost: no byte is fetched twice, and a request fetches as many as it may."""

from __future__ import annotations

import io
import itertools
import random
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from beam_job.inputs.base import Container
from beam_job.inputs.containers import tfrecord
from beam_job.inputs.selection import open_source
from beam_job.runtime.downloads import Downloader
from beam_job.runtime.framing import frame
from beam_job.runtime.storage import gcs
from tests.inputs.container_contract import read
from tests.inputs.contract import IMAGES
from tests.support.bucket import Bucket
from tests.support.tfrecords import example

CONTENTS = [random.Random(number).randbytes(9000) for number in range(60)]
REQUEST = 64 << 10


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int, int]]]:
    """Name, first byte and number of bytes of every part of an object that is fetched."""
    found: list[tuple[str, int, int]] = []
    fetch, read_range = Downloader.fetch, gcs.GcsFileSystem.read_range

    def spied(self: Downloader, bucket: str, name: str, file: Any, part: tuple[int, int] | None = None) -> None:
        assert part is not None, "containers are fetched in parts"
        found.append((name, *part))
        fetch(self, bucket, name, file, part)

    def spied_range(self: gcs.GcsFileSystem, path: str, start: int, length: int) -> bytes:
        found.append((path.rpartition("/")[2], start, length))
        return read_range(self, path, start, length)

    monkeypatch.setattr(Downloader, "fetch", spied)
    monkeypatch.setattr(gcs.GcsFileSystem, "read_range", spied_range)
    yield found


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, content in enumerate(CONTENTS):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, content in enumerate(CONTENTS):
            archive.writestr(f"{number}.jpg", content)
    return file.getvalue()


def table() -> bytes:
    file = io.BytesIO()
    columns = {"image": CONTENTS, "label": list(range(60)), "unwanted": [content[::-1] for content in CONTENTS]}
    parquet.write_table(pa.table(columns), file, row_group_size=10)
    return file.getvalue()


def records() -> bytes:
    return b"".join(frame(example(image=content)) for content in CONTENTS)


@pytest.mark.parametrize(
    ("name", "make"),
    [("0.tar", tar), ("0.zip", zipped), ("0.parquet", table), ("0.tfrecord", records)],
    ids=["tar", "zip", "parquet", "tfrecord"],
)
def test_no_byte_is_fetched_twice(
    bucket: Bucket, fetched: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch, name: str, make: Any
) -> None:
    content = make()
    url = bucket.write(f"containers/{name}", content)
    for module in ("zip", "parquet"):
        monkeypatch.setattr(f"beam_job.inputs.containers.{module}._PIECE_BYTES", 3 * REQUEST)
    source = open_source(url)
    assert isinstance(source, Container)
    pieces = source.pieces()
    found = [entry for piece in pieces for entry in source.members(piece, IMAGES, request_bytes=REQUEST)]
    assert sorted(entry[1] for entry in found if isinstance(entry, tuple)) == sorted(CONTENTS)
    asked = sorted((start, start + length) for _, start, length in fetched)
    assert all(end <= following for (_, end), (following, _) in itertools.pairwise(asked)), str(asked)
    total = sum(end - start for start, end in asked)
    assert total <= len(content)
    # A request for the end of the file, where it has a directory, and then full ones, but for the last of each piece.
    assert len(asked) <= 1 + total // REQUEST + len(pieces) * (3 if name.endswith("parquet") else 1)
    if name.endswith("parquet"):
        assert total < 0.7 * len(content)  # the column that is not wanted was left out


def test_a_read_again_in_the_same_process_needs_no_directory(
    bucket: Bucket, fetched: list[tuple[str, int, int]]
) -> None:
    url = bucket.write("containers/again.zip", zipped())
    source = open_source(url)
    assert isinstance(source, Container)
    assert len(read(source)) == 60
    before = len(fetched)
    assert len(read(source)) == 60
    assert len(fetched) == before + 1


def test_a_long_file_of_records_is_cut(
    bucket: Bucket, fetched: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the record that lies across a cut is fetched for both parts."""
    content = records()
    url = bucket.write("containers/long.tfrecord", content)
    monkeypatch.setattr(tfrecord, "_LONGEST_WHOLE", 2 * REQUEST)
    monkeypatch.setattr(tfrecord, "_PART_BYTES", 2 * REQUEST)
    source = open_source(url)
    assert isinstance(source, Container)
    pieces = source.pieces()
    assert len(pieces) == 5
    fetched.clear()
    parts = [list(source.members(piece, IMAGES, request_bytes=REQUEST)) for piece in pieces]
    assert [entry[1] for part in parts for entry in part if isinstance(entry, tuple)] == CONTENTS
    ids = [entry[0].id for part in parts for entry in part if isinstance(entry, tuple)]
    assert ids[0] == "long.tfrecord/0"
    assert len(set(ids)) == len(ids)
    assert all(parts)
    assert sum(length for _, _, length in fetched) <= len(content) + 4 * (64 << 10)
    assert len(fetched) <= 3 * len(pieces)
