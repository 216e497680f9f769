"""Hostile input: damaged images, harmful names, and paths outside the allowed roots."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import beam_job
from beam_job.runtime import storage
from tests.support.damage import damaged
from tests.support.datasets import error_rows_of, records_of
from tests.support.fuzz_decoding import GOOD, SEARCHES
from tests.support.images import encode, jpeg, photograph, png_header

MUTATIONS = int(os.environ.get("BEAM_JOB_MUTATIONS", "300"))
Options = dict[str, Any]


@pytest.fixture(scope="module")
def options(small_model: dict[str, str]) -> Options:
    return {**small_model, "engine": "openvino", "max_error_rate": 1.0}


@pytest.mark.parametrize("modality", SEARCHES)
def test_damaged_files_of_every_format_give_an_example_or_an_error(modality: str) -> None:
    command = [sys.executable, "-m", "tests.support.fuzz_decoding", modality, f"--count={MUTATIONS}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    for name, outcomes in summary["outcomes"].items():
        assert sum(outcomes.values()) == MUTATIONS
        # The checksums of a PNG cover everything that decides its pixels, and UTF-16 is never UTF-8.
        least = 0 if name.startswith("png") or name == "utf-16" else 1
        assert least <= outcomes.get(GOOD, 0) < MUTATIONS
    assert summary["peak_megabytes"] < 1000


def test_a_run_accounts_for_every_damaged_image(tmp_path: Path, options: Options) -> None:
    rng, root = random.Random(7), tmp_path / "photos"
    root.mkdir()
    valid = [
        jpeg(photograph()),
        encode(photograph(), "PNG"),
        encode(photograph(), "WEBP"),
        encode(photograph(), "TIFF"),
    ]
    for number in range(400):
        (root / f"{number}.jpg").write_bytes(damaged(valid[number % 4], rng))
    (root / "valid.jpg").write_bytes(valid[0])
    result = beam_job.extract(str(root), str(tmp_path / "out"), **options)
    assert result.examples == 401
    assert result.records + len(error_rows_of(tmp_path / "out")) == 401
    assert result.records == len(records_of(tmp_path / "out"))
    assert result.records > 1


def test_hostile_file_names_are_harmless(tmp_path: Path, options: Options) -> None:
    root, image = tmp_path / "photos", jpeg(photograph())
    names = [
        "two\nlines.jpg",
        "tab\there.jpg",
        "quote\"'`$(touch x).jpg",
        "percent %s %n.jpg",
        "back\\slash.jpg",
        "<script>alert(1)<script>.jpg",
        "=cmd|' '!A0.jpg",
        "\u202eright to left.jpg",
        "-rf.jpg",
        "train-00000-of-00001.tfrecord.jpg",
        "x" * 250 + ".jpg",
        os.fsdecode(b"not \xff utf-8.jpg"),
    ]
    label = 'class of [bold]two, "lines"'
    (root / label).mkdir(parents=True)
    for name in names:
        (root / label / name).write_bytes(image)
    output = tmp_path / "out"
    result = beam_job.extract(str(root), str(output), **options)
    assert (result.examples, result.records) == (len(names), len(names))
    found = set(records_of(output))
    assert found == {f"{label}/{name}" for name in names[:-1]} | {f"{label}/not \\xff utf-8.jpg"}
    assert beam_job.verify(str(output)).problems == ()


def test_hostile_rows_of_a_manifest_are_harmless(tmp_path: Path, options: Options) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/good.jpg").write_bytes(jpeg(photograph()))
    (tmp_path / "in/bomb.png").write_bytes(png_header(1 << 30, 2))
    rows = [
        {"uri": "good.jpg", "id": "x" * 4096, "label": "y" * 4096},
        {"uri": "z" * 5000, "id": "long"},
        {"uri": "a\0b.jpg", "id": "null"},
        {"uri": "bomb.png", "id": "bomb"},
        {"uri": "/dev/null", "id": "device"},
        {"uri": ".", "id": "directory"},
        {"uri": "nowhere://a/b", "id": "scheme"},
        {"uri": "../../../../../../etc/passwd", "id": "outside"},
        {"uri": "good.jpg\n", "id": "newline"},
    ]
    manifest = tmp_path / "in/images.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    output = tmp_path / "out"
    result = beam_job.extract(str(manifest), str(output), **options)
    assert list(records_of(output)) == ["x" * 4096]
    assert {name: row["error"] for name, row in error_rows_of(output).items()} == {
        "long": "ReadError",
        "null": "ReadError",
        "bomb": "ExampleTooLargeError",
        "device": "EmptyFileError",
        "directory": "ReadError",
        "scheme": "ReadError",
        "outside": "UnknownFormatError",
        "newline": "NotFoundError",
    }
    assert result.examples == len(rows)


def test_a_manifest_cannot_reach_outside_the_allowed_roots(tmp_path: Path, options: Options) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out-of-bounds"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(jpeg(photograph()))
    (inside / "link.jpg").symlink_to(outside / "a.jpg")
    (tmp_path / "in-name-only").mkdir()
    (tmp_path / "in-name-only/a.jpg").write_bytes(jpeg(photograph()))
    uris = {
        "inside": "a.jpg",
        "absolute": f"{inside}/a.jpg",
        "dots": "../out-of-bounds/a.jpg",
        "there and back": "../in/a.jpg",
        "link": "link.jpg",
        "prefix": f"{tmp_path}/in-name-only/a.jpg",
        "bucket": "gs://elsewhere/a.jpg",
    }
    manifest = inside / "images.csv"
    manifest.write_text("\n".join(["uri,id", *(f"{uri},{name}" for name, uri in uris.items())]))
    output = tmp_path / "features"
    beam_job.extract(str(manifest), str(output), allowed_roots=[str(inside)], **options)
    assert set(records_of(output)) == {"inside", "absolute", "there and back"}
    found = error_rows_of(output)
    assert {row["error"] for row in found.values()} == {"OutsideRootsError"}
    assert set(found) == {"dots", "link", "prefix", "bucket"}


def test_is_below_in_a_bucket() -> None:
    assert storage.is_below("gs://b/in/a.jpg", "gs://b/in")
    assert storage.is_below("gs://b/in/a.jpg", "gs://b/in/")
    assert not storage.is_below("gs://b/inside/a.jpg", "gs://b/in")
    assert not storage.is_below("gs://b/in/../a.jpg", "gs://b/in")
    assert not storage.is_below("/in/a.jpg", "gs://b/in")
