"""Tests of tar files as an input: what is an example, what is its label, and what becomes of damaged ones."""

from __future__ import annotations

import io
import json
import pickle
import random
import subprocess
import tarfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import webdataset

from beam_job.core.errors import InputError
from beam_job.core.records import CLASS_FOLDER_LABEL, FOLDER_LABEL, ErrorRow, PassedOver
from beam_job.core.values import LINE_BREAKS
from beam_job.inputs.base import Columns, Container
from beam_job.inputs.selection import open_source
from tests.inputs.container_contract import ContainerContract, by_name, read
from tests.inputs.contract import IMAGES
from tests.support.tars import write_tar

MEMBERS = [("a/1.jpg", b"one"), ("b/2.png", b"two"), ("b/3.jpg", b"three")]
JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 6


def labels(path: Path, **columns: Any) -> dict[str, str | None]:
    """Name of each example in a tar file to its label."""
    source = open_source(str(path), Columns(**columns))
    assert isinstance(source, Container)
    return {name: label for name, (label, _) in by_name(source).items()}


def passed_over(path: Path) -> Counter[str]:
    source = open_source(str(path))
    assert isinstance(source, Container)
    found = (entry for piece in source.pieces() for entry in source.members(piece, IMAGES))
    return Counter(entry.kind for entry in found if isinstance(entry, PassedOver))


def rows(path: Path) -> list[ErrorRow]:
    """The error rows of the examples in a tar file."""
    source = open_source(str(path))
    assert isinstance(source, Container)
    return [content for _, content in read(source) if isinstance(content, ErrorRow)]


class TestTar(ContainerContract):
    @pytest.fixture(params=["w", "w:gz", "w:bz2", "w:xz"], ids=["tar", "gz", "bz2", "xz"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        mode: str = request.param
        suffix = mode.replace("w:", ".") if mode != "w" else ""
        return str(write_tar(tmp_path / f"images.tar{suffix}", MEMBERS, mode))


class TestDirectoryOfTars(ContainerContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        write_tar(tmp_path / "0.tar", MEMBERS[:1])
        write_tar(tmp_path / "1.tar", MEMBERS[1:])
        (tmp_path / "0_stats.json").write_text("{}")
        return str(tmp_path)


class TestSystemTar(ContainerContract):
    """As ``tar`` of the system writes it, with ``./`` before the names and entries for the directories."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        for name, content in MEMBERS:
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / name).write_bytes(content)
        subprocess.run(["tar", "-C", tmp_path / "images", "-czf", tmp_path / "images.tgz", "."], check=True)
        return str(tmp_path / "images.tgz")


def test_samples_of_webdataset(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "0.tar")) as writer:
        for number in range(3):
            writer.write(
                {"__key__": f"{number:04d}", "JPG": JPEG, "cls": number + 5, "json": {"a": {"b": f"x{number}"}}}
            )
    assert labels(tmp_path / "0.tar") == {f"{number:04d}.JPG": str(number + 5) for number in range(3)}
    assert labels(tmp_path / "0.tar", label_key="a.b") == {f"{number:04d}.JPG": f"x{number}" for number in range(3)}
    assert labels(tmp_path / "0.tar", label_key="cls")["0000.JPG"] == "5"
    assert labels(tmp_path / "0.tar", label_key="a.c") == dict.fromkeys(["0000.JPG", "0001.JPG", "0002.JPG"])
    assert passed_over(tmp_path / "0.tar") == {}


def test_masks_beside_an_example_are_none(tmp_path: Path) -> None:
    members = [("1.jpg", JPEG), ("1.seg.png", JPEG), ("2.jpg", JPEG), ("2.mask.jpg", JPEG), ("2.cls", b"1")]
    path = write_tar(tmp_path / "0.tar", members)
    assert labels(path) == {"1.jpg": None, "2.jpg": "1"}
    assert passed_over(path) == {".png": 1, ".jpg": 1}


def test_names_with_dots_are_examples_of_their_own(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [("a/x.jpg", JPEG), ("a/x.2.jpg", JPEG), ("b/x.1.jpg", JPEG)])
    assert set(labels(path)) == {"a/x.jpg", "a/x.2.jpg", "b/x.1.jpg"}


def test_only_members_that_stand_together_are_a_sample(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [("1.jpg", JPEG), ("2.jpg", JPEG), ("1.cls", b"7"), ("2.cls", b"8")])
    assert labels(path) == {"1.jpg": None, "2.jpg": None}
    assert passed_over(path) == {".cls": 2}


@pytest.mark.parametrize(
    ("beside", "label"),
    [
        ({"txt": b"cat\n"}, "cat"),
        ({"txt": b"a caption, and the metadata beside it", "json": b"{}"}, None),
        ({"txt": b"two\nlines"}, None),
        ({"txt": b"x" * 101}, None),
        ({"txt": b"cat", "cls": b"3"}, "3"),
        ({"cls": b""}, None),
    ],
    ids=["name", "caption", "lines", "long", "class first", "empty"],
)
def test_a_text_is_a_label_only_if_it_may_be_one(tmp_path: Path, beside: dict[str, bytes], label: str | None) -> None:
    members = [("1.jpg", JPEG), *((f"1.{suffix}", content) for suffix, content in beside.items())]
    assert labels(write_tar(tmp_path / "0.tar", members)) == {"1.jpg": label}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("1.cls", b"\xff\xfe", "in UTF-8"),
        ("1.json", b"{", "expected a .json with an object"),
        ("1.json", b"[1]", "expected an object with 'a'"),
        ("1.json", b'{"a": [[1]]}', "expected a list of texts or integers as a in the .json"),
        ("1.json", b'{"a": true}', "expected a in the .json to be text or a number"),
    ],
    ids=["bytes", "no json", "no object", "list", "truth"],
)
def test_a_label_that_makes_no_sense_is_a_row(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = write_tar(tmp_path / "0.tar", [("1.jpg", JPEG), (name, content), ("2.jpg", JPEG)])
    source = open_source(str(path), Columns(label_key="a" if name.endswith("json") else None))
    assert isinstance(source, Container)
    (_, row), (_, good) = read(source)
    assert isinstance(row, ErrorRow)
    assert words in row.message
    assert good == JPEG


def test_folders_are_labels_of_members_without_another(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "photos.tar", [("photos/cat/1.jpg", JPEG), ("dog/2.jpg", JPEG), ("3.jpg", JPEG)])
    assert labels(path) == {
        "photos/cat/1.jpg": f"{FOLDER_LABEL}cat",
        "dog/2.jpg": f"{FOLDER_LABEL}dog",
        "3.jpg": None,
    }


def test_folders_of_splits(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [("train/cat/1.jpg", JPEG), ("x/Test/dog/2.jpg", JPEG), ("test/3.jpg", JPEG)])
    source = open_source(str(path))
    assert isinstance(source, Container)
    assert [(ref.split, ref.label) for ref, _ in read(source)] == [
        ("train", f"{CLASS_FOLDER_LABEL}cat"),
        ("test", f"{CLASS_FOLDER_LABEL}dog"),
        (None, f"{FOLDER_LABEL}test"),
    ]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-0.tar", "train-1.tar", "val-0.tar"], ["train", "train", "val"]),
        (["imagenet-train-000.tar", "imagenet-test-000.tar"], ["test", "train"]),
        (["train/0.tar", "validation/0.tar"], ["train", "validation"]),
        (["train-0.tar", "more.tar"], [None, None]),
        (["0.tar", "1.tar"], [None, None]),
        (["train-test-0.tar"], [None]),
    ],
    ids=["names", "words", "folders", "not all", "none", "two"],
)
def test_names_of_containers_tell_splits(tmp_path: Path, names: list[str], splits: list[str | None]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_tar(tmp_path / name, MEMBERS)
    source = open_source(str(tmp_path))
    assert isinstance(source, Container)
    assert [piece.split for piece in source.pieces()] == splits


def test_patterns(tmp_path: Path) -> None:
    for number in range(8, 12):
        write_tar(tmp_path / f"a-{number:03d}.tar", MEMBERS)

    def names(pattern: str) -> list[str]:
        source = open_source(str(tmp_path / pattern))
        assert isinstance(source, Container)
        return [piece.name for piece in source.pieces()]

    assert names("a-{009..010}.tar") == ["a-009.tar", "a-010.tar"]
    assert names("a-0{08,11}.tar") == ["a-008.tar", "a-011.tar"]
    assert names("a-*9.tar") == ["a-009.tar"]
    assert names("*-01{0..1}.tar") == ["a-010.tar", "a-011.tar"]
    with pytest.raises(InputError, match=r"no file at .*a-012"):
        names("a-{011..012}.tar")
    with pytest.raises(InputError, match="at most 1,000,000 files"):
        names("a-{0..99999999999}.tar")
    with pytest.raises(InputError, match="found none"):
        names("b-*.tar")


def test_a_folder_with_a_tar_among_its_classes_is_one_of_classes(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(JPEG)
    write_tar(tmp_path / "old.tar", MEMBERS)
    assert not isinstance(open_source(str(tmp_path)), Container)


def test_loose_images_with_an_archive_among_them_are_loose_images(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(JPEG)
    write_tar(tmp_path / "old.tar", MEMBERS)
    assert not isinstance(open_source(str(tmp_path)), Container)


def test_what_is_beside_the_containers_is_told(tmp_path: Path) -> None:
    for name in ("0_stats.json", "README.md", "labels.txt", "0.parquet", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    write_tar(tmp_path / "0.tar", MEMBERS)
    source = open_source(str(tmp_path))
    assert isinstance(source, Container)
    assert source.check() == ["files beside the tar files are not read: 1 .json, 1 .md, 1 .parquet, 1 .txt"]
    assert len(read(pickle.loads(pickle.dumps(source)))) == 3


def test_what_is_no_file_is_a_row_or_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.jpg", tarfile.LNKTYPE, "1.jpg"),
            ("device.jpg", tarfile.CHRTYPE, ""),
            ("pipe", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for name in ("../out.jpg", "/etc/absolute.jpg", "a/../../b.jpg", ".hidden.jpg", "__MACOSX/x.jpg", "a/._x.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(JPEG)
            archive.addfile(info, io.BytesIO(JPEG))
    found = {row.id.partition("/")[2]: row.message for row in rows(path)}
    assert {name: message.split(", ")[1] for name, message in found.items()} == {
        "link.jpg": "found a link to '/etc/passwd'; make the archive with tar --dereference",
        "hard.jpg": "found a link to '1.jpg'; make the archive with tar --dereference",
        "device.jpg": "found a device or a pipe",
        "../out.jpg": "found one that leads out of it",
        "../b.jpg": "found one that leads out of it",
    }
    assert labels(path)["etc/absolute.jpg"] == f"{FOLDER_LABEL}etc"
    assert passed_over(path) == {"without suffix": 1}


def test_sparse_members_are_rows(tmp_path: Path) -> None:
    with (tmp_path / "1.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(JPEG)
    subprocess.run(["tar", "-C", tmp_path, "-S", "-cf", tmp_path / "0.tar", "1.jpg"], check=True)
    (row,) = rows(tmp_path / "0.tar")
    assert "sparse" in row.message


def test_a_name_that_comes_twice_is_a_row(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [("1.jpg", JPEG), ("2.jpg", JPEG), ("1.jpg", JPEG + b"!")])
    (row,) = rows(path)
    assert "once" in row.message
    assert len(labels(path)) == 3


def test_long_and_foreign_names(tmp_path: Path) -> None:
    names = ["x" * 300 + "/1.jpg", "ä/2.jpg"]
    path = write_tar(tmp_path / "0.tar", [(name, JPEG) for name in names])
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        info = tarfile.TarInfo("ö/3.jpg")
        archive.addfile(info)
    assert list(labels(path)) == [*names, "\\xf6/3.jpg"]


def test_a_tar_file_that_is_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", [(f"{number}.jpg", JPEG) for number in range(5)]).read_bytes()
    path = tmp_path / "0.tar"
    path.write_bytes(whole[: 512 + 2048 + 512 + 1000])
    found = [row.error for row in rows(path)]
    assert found == ["ReadError", "DamagedContainerError"]
    assert len(labels(path)) == 3
    path.write_bytes(whole[: 2 * (512 + 2048)])  # between two members
    (row,) = rows(path)
    assert "without the mark of its end" in row.message


def test_a_damaged_header_costs_its_member(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "0.tar", [(f"{n}.jpg", JPEG) for n in range(5)]).read_bytes())
    content[2 * (512 + 2048) + 10] ^= 1
    (tmp_path / "0.tar").write_bytes(content)
    assert [name for name in labels(tmp_path / "0.tar") if name] == ["0.jpg", "1.jpg", "3.jpg", "4.jpg"]
    (row,) = rows(tmp_path / "0.tar")
    assert "damaged after 2 members" in row.message


def test_tar_files_that_were_joined_are_read_to_their_end(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "1.tar", MEMBERS[:1]).read_bytes()
    two = write_tar(tmp_path / "2.tar", MEMBERS[1:]).read_bytes()
    (tmp_path / "0.tar").write_bytes(one + two)
    assert len(labels(tmp_path / "0.tar")) == 3
    assert rows(tmp_path / "0.tar") == []


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x1f\x8b", bytes(10240)], ids=str)
def test_what_is_no_tar_file_is_a_row_or_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    assert [row.error for row in rows(tmp_path / "0.tar")] == ["DamagedContainerError"] * any(
        [not content, any(content)]
    )


def test_compressed_zeros_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_job.inputs.containers.tar_entries._FREE_BYTES", 1 << 20)
    path = write_tar(tmp_path / "0.tar.gz", [("1.jpg", JPEG), ("2.bin", bytes(32 << 20)), ("3.jpg", JPEG)], "w:gz")
    assert path.stat().st_size < 100_000
    (row,) = rows(path)
    assert "compressed content" in row.message
    assert "1.jpg" in labels(path)


@pytest.mark.parametrize("size", [1 << 40, -512, -1, (1 << 63) - 1], ids=str)
def test_sizes_that_cannot_be_are_rows(tmp_path: Path, size: int) -> None:
    first = write_tar(tmp_path / "1.tar", MEMBERS[:1]).read_bytes()[:1024]
    info = tarfile.TarInfo("2.jpg")
    info.size = size
    (tmp_path / "0.tar").write_bytes(first + info.tobuf(tarfile.GNU_FORMAT) + first + bytes(1024))
    start = time.monotonic()
    found = rows(tmp_path / "0.tar")
    assert found
    assert time.monotonic() - start < 10


def damaged(content: bytes, rng: random.Random) -> bytes:
    """``content`` after a few accidents."""
    data = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        at, kind = rng.randrange(len(data) or 1), rng.randrange(4)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 3000)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 1500))
        else:
            data = data[:at] if rng.random() < 0.5 else data + data[at:]
    return bytes(data)


@pytest.mark.parametrize("mode", ["w", "w:gz"], ids=["tar", "gz"])
def test_damaged_tar_files_give_rows(tmp_path: Path, mode: str) -> None:
    members = [(f"{n}.{suffix}", JPEG if suffix == "jpg" else b"7") for n in range(8) for suffix in ("jpg", "cls")]
    members[4] = ("x" * 200 + ".jpg", JPEG)
    whole, rng = write_tar(tmp_path / "whole.tar", members, mode).read_bytes(), random.Random(0)
    path = tmp_path / "0.tar"
    tracemalloc.start()
    for number in range(2000):
        path.write_bytes(damaged(whole, rng))
        source = open_source(str(path))
        assert isinstance(source, Container)
        found = read(source)
        ids = [ref.id for ref, _ in found]
        assert len(set(ids)) == len(ids), number
        good = sum(isinstance(content, bytes) for _, content in found)
        assert good == 8 or any(isinstance(content, ErrorRow) for _, content in found) or good > 8, number
        assert not any(LINE_BREAKS.search(ref.label) for ref, content in found if ref.label and content == JPEG), number
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_text_is_the_label_where_it_is_said(tmp_path: Path) -> None:
    members = [("1.jpg", JPEG), ("1.txt", b"a cat "), ("1.json", b"{}"), ("2.jpg", JPEG), ("2.txt", b"two\nlines")]
    path = write_tar(tmp_path / "0.tar", members)
    assert labels(path, label_key="txt") == {"1.jpg": "a cat", "2.jpg": None}
    source = open_source(str(path), Columns(label_key="TXT"))
    assert isinstance(source, Container)
    assert [content.message for _, content in read(source) if isinstance(content, ErrorRow)] == [
        "expected .txt to be one line of Unicode text, found 'two\\nlines'"
    ]


def test_the_json_of_img2dataset(tmp_path: Path) -> None:
    described = json.dumps(
        {"caption": "a cat", "url": "https://x/1.jpg", "key": "000000000", "status": "success"}
    ).encode()
    members = [("000000000.jpg", JPEG), ("000000000.json", described), ("000000000.txt", b"a cat")]
    path = write_tar(tmp_path / "00000.tar", members)
    assert labels(path) == {"000000000.jpg": None}
    assert labels(path, label_key="status") == {"000000000.jpg": "success"}
