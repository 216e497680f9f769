"""Tests of zip files as an input: what is an example, what is its label, and what becomes of damaged ones."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from beam_job.core.records import CLASS_FOLDER_LABEL, FOLDER_LABEL, ErrorRow, PassedOver
from beam_job.inputs.base import Container
from beam_job.inputs.selection import open_source
from tests.inputs.container_contract import ContainerContract, by_name, read
from tests.inputs.contract import IMAGES
from tests.support.damage import DAMAGES_OF_CONTAINERS, damaged

MEMBERS = [("a/1.jpg", b"one"), ("b/2.png", b"two"), ("b/3.jpg", b"three")]
JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 6


def container(path: Path) -> Container:
    source = open_source(str(path))
    assert isinstance(source, Container)
    return source


def write_zip(path: Path, members: list[tuple[str, bytes]], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


class _Pipe(io.BytesIO):
    """A file that is only written forward."""

    def tell(self) -> int:
        raise OSError("a pipe has no place")


def streamed_zip(members: list[tuple[str, bytes]], force_zip64: bool = False) -> bytes:
    """A zip file as a writer has it that cannot go back: the sizes of a member are behind it."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            with archive.open(name, "w", force_zip64=force_zip64) as member:
                member.write(content)
    return pipe.getvalue()


def messages(path: Path) -> dict[str, str]:
    found = read(container(path))
    return {ref.id.partition("/")[2]: row.message for ref, row in found if isinstance(row, ErrorRow)}


class TestZip(ContainerContract):
    @pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        return str(write_zip(tmp_path / "images.zip", MEMBERS, request.param))


class TestZipOfAFolder(ContainerContract):
    """As ``shutil`` writes it, with entries for the directories."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        for name, content in MEMBERS:
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / name).write_bytes(content)
        return shutil.make_archive(str(tmp_path / "images"), "zip", tmp_path / "images")


class TestZip64(ContainerContract):
    """With the long form of sizes, and sizes behind the data, as a writer has them that cannot go back."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        (tmp_path / "images.zip").write_bytes(streamed_zip(MEMBERS, force_zip64=True))
        return str(tmp_path / "images.zip")


def test_folders_are_labels_and_splits(tmp_path: Path) -> None:
    names = [
        "photos/cat/1.jpg",
        "photos/train/dog/deep/2.jpg",
        "__MACOSX/cat/._1.jpg",
        "photos/cat/.hidden.jpg",
        "3.jpg",
    ]
    path = write_zip(tmp_path / "photos.zip", [(name, JPEG) for name in names])
    found = read(container(path))
    assert [(ref.split, ref.label) for ref, _ in found] == [
        (None, f"{FOLDER_LABEL}cat"),
        ("train", f"{CLASS_FOLDER_LABEL}dog"),
        (None, None),
    ]


def test_what_is_no_example_is_passed_over(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "0.zip", [("a/1.jpg", JPEG), ("a/notes.md", b"x"), ("a/picture", JPEG), ("a/empty", b"")]
    )
    source = container(path)
    entries = [entry for piece in source.pieces() for entry in source.members(piece, IMAGES)]
    assert set(by_name(source)) == {"a/1.jpg", "a/picture"}
    assert Counter(entry.kind for entry in entries if isinstance(entry, PassedOver)) == {".md": 1, "without suffix": 1}


def test_what_cannot_be_read_is_a_row(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "0.zip", [("../out.jpg", JPEG), ("1.jpg", JPEG), ("2.jpg", JPEG)])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("lzma.jpg", JPEG)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("1.jpg", JPEG)
    content = path.read_bytes()
    found = messages(path)
    assert {name.partition(" (")[0] for name in found} == {"../out.jpg", "lzma.jpg", "1.jpg"}
    assert len(read(container(path))) == 5
    entry = content.rindex(b"2.jpg") - 46  # its entry in the directory
    path.write_bytes(content[: entry + 8] + b"\x01" + content[entry + 9 :])
    assert "encrypted" in messages(path)["2.jpg"]


def test_a_damaged_member_is_a_row(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "0.zip", [(f"{number}.jpg", JPEG) for number in range(3)], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 - 100] ^= 1
    path.write_bytes(content)
    assert messages(path) == {"1.jpg": "the member '1.jpg' cannot be read: its checksum is wrong"}


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_file_that_is_cut_off_gives_what_is_whole(tmp_path: Path, kind: int) -> None:
    path = write_zip(tmp_path / "0.zip", [(f"{n}.jpg", JPEG + bytes([n])) for n in range(5)], kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"3.jpg") + 100])
    *good, (_, row) = read(container(path))
    assert [content for _, content in good] == [JPEG + bytes([number]) for number in range(3)]
    assert isinstance(row, ErrorRow)
    assert "directory" in row.message
    path.write_bytes(whole[: whole.index(b"PK\x01\x02")])
    assert len(read(container(path))) == 6


def test_members_whose_sizes_follow_them_are_found_without_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "0.zip"
    path.write_bytes(streamed_zip([(f"{number}.jpg", JPEG + bytes([number])) for number in range(3)])[:-180])
    assert [content for _, content in read(container(path))][:-1] == [JPEG + bytes([number]) for number in range(3)]


@pytest.mark.parametrize("content", [b"", b"no zip file" * 200], ids=["empty", "text"])
def test_what_is_no_zip_file_is_a_row(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.zip").write_bytes(content)
    ((_, row),) = read(container(tmp_path / "0.zip"))
    assert isinstance(row, ErrorRow)
    assert "directory" in row.message


def test_members_that_overlap_are_rows(tmp_path: Path) -> None:
    """The bomb of Fifield: many entries of a directory that share their data."""
    path = write_zip(tmp_path / "0.zip", [("1.jpg", JPEG)])
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start:end]
    entries = b"".join(entry.replace(b"1.jpg", b"%d.jpg" % number) for number in range(1, 6))
    tail = bytearray(content[end:])
    tail[8:10] = tail[10:12] = (5).to_bytes(2, "little")
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(content[:start] + entries + tail)
    found = read(container(path))
    assert len(found) == 5
    assert sum("overlaps" in row.message for _, row in found if isinstance(row, ErrorRow)) == 4


def test_members_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_job.inputs.containers.zip._PIECE_BYTES", 4000)
    path = write_zip(tmp_path / "0.zip", [(f"{number}.jpg", JPEG) for number in range(10)], zipfile.ZIP_STORED)
    source = container(path)
    assert len(source.pieces()) == 5
    assert list(by_name(source)) == [f"{number}.jpg" for number in range(10)]


def test_damaged_zip_files_give_rows(tmp_path: Path) -> None:
    members = [(f"{'abc'[number % 3]}/{number}.jpg", JPEG + bytes([number])) for number in range(8)]
    whole, rng, path = write_zip(tmp_path / "whole.zip", members).read_bytes(), random.Random(0), tmp_path / "0.zip"
    for number in range(3000):
        data = damaged(whole, rng, DAMAGES_OF_CONTAINERS)
        path.write_bytes(data)
        found = read(container(path))
        ids = [ref.id for ref, _ in found]
        assert len(set(ids)) == len(ids), number
        assert {content for _, content in found if isinstance(content, bytes)} <= {content for _, content in members}
        assert len(found) >= 7 or any(isinstance(content, ErrorRow) for _, content in found), number
