"""Runs that are killed, resumed, changed and repeated: no example is lost and none is extracted twice."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import beam_job
from beam_job import api
from beam_job.core import naming
from beam_job.core.errors import JobFailedError, OutputError
from beam_job.dataset import commit
from tests.support.datasets import comparable_files, records_of
from tests.support.images import jpeg, photograph, write_tree
from tests.support.kills import KILLS, check_killed_runs

Options = dict[str, Any]


@pytest.fixture(scope="module")
def options(small_model: dict[str, str]) -> Options:
    return {**small_model, "engine": "openvino", "num_shards": 6, "max_error_rate": 0.2}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """60 images in three classes, four of them invalid."""
    root = tmp_path / "photos"
    write_tree(root, 60, range(0, 60, 17))
    return root


def file_stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of every file. Writing a file changes them."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(600 + 60 * KILLS)
def test_a_run_killed_at_any_point_is_resumed_to_the_same_bytes(samples: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name}" for path in sorted(samples.rglob("*-000[0-9].jpg"))]
    manifest = tmp_path / "images.csv"
    manifest.write_text("\n".join(["uri,label", *rows, "nowhere.jpg,cat"]))
    check_killed_runs([f"--input={manifest}", "--num_shards=12"], tmp_path, KILLS)


def test_a_run_that_fails_halfway_is_resumed(photos: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    expected = comparable_files(output)
    for path in sorted(output.glob("receipts/*.json"))[::2]:
        path.unlink()
    (output / naming.SUCCESS).unlink()
    (output / "train-00000-of-00006.tfrecord.tmp-0123abcd").write_bytes(b"half")
    beam_job.extract(str(photos), str(output), resume=True, **options)
    assert comparable_files(output) == expected


def test_a_complete_run_is_left_unchanged(
    photos: Path, tmp_path: Path, options: Options, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    before = file_stamps(output)
    batch_sizes.clear()
    result = beam_job.extract(str(photos), str(output), resume=True, **options)
    assert file_stamps(output) == before
    assert batch_sizes == []
    assert (result.examples, result.records) == (60, 56)


def test_only_new_and_changed_images_are_extracted(
    photos: Path, tmp_path: Path, options: Options, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    (photos / "class-1/001.jpg").unlink()
    (photos / "class-2/new.jpg").write_bytes(jpeg(photograph(45, 45, 100)))
    (photos / "class-1/004.jpg").write_bytes(jpeg(photograph(45, 45, 101)))
    batch_sizes.clear()
    result = beam_job.extract(str(photos), str(output), resume=True, **options)
    assert sum(batch_sizes) == 2
    assert result.examples == 60
    beam_job.extract(str(photos), str(tmp_path / "full"), **options)
    assert comparable_files(output) == comparable_files(tmp_path / "full")


def test_new_labels_need_no_extraction(photos: Path, tmp_path: Path, options: Options, batch_sizes: list[int]) -> None:
    output = tmp_path / "out"
    rows = [f"{path},{path.parent.name}" for path in sorted(photos.rglob("*.jpg"))]
    manifest = tmp_path / "images.csv"
    manifest.write_text("\n".join(["uri,label", *rows]))
    beam_job.extract(str(manifest), str(output), **options)
    manifest.write_text("\n".join(["uri,label", *(row.replace(",class-0", ",zebra") for row in rows)]))
    batch_sizes.clear()
    beam_job.extract(str(manifest), str(output), resume=True, **options)
    assert batch_sizes == []
    assert (output / naming.LABELS).read_text() == "class-1\nclass-2\nzebra\n"
    assert {record["label"] for record in records_of(output).values()} == {0, 1, 2}
    beam_job.extract(str(manifest), str(tmp_path / "full"), **options)
    assert comparable_files(output) == comparable_files(tmp_path / "full")


def test_the_number_of_shards_is_kept_unless_it_is_given(photos: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    unspecified = {**options, "num_shards": None}
    beam_job.extract(str(photos), str(output), resume=True, **unspecified)
    assert len(list(output.glob("*.tfrecord"))) == 6
    beam_job.extract(str(photos), str(output), resume=True, **{**options, "num_shards": 2})
    assert len(list(output.glob("*.tfrecord"))) == len(list(output.glob("receipts/*"))) == 2
    beam_job.extract(str(photos), str(tmp_path / "full"), **{**options, "num_shards": 2})
    assert comparable_files(output) == comparable_files(tmp_path / "full")


def test_retry_errors_extracts_only_failed_examples(
    photos: Path, tmp_path: Path, options: Options, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    valid = photos / "class-1/004.jpg"
    link = photos / "class-1/link.jpg"
    link.symlink_to(tmp_path / "later.jpg")
    assert beam_job.extract(str(photos), str(output), **options).errors == {
        "NotFoundError": 1,
        "UnknownFormatError": 4,
    }
    batch_sizes.clear()
    beam_job.extract(str(photos), str(output), resume=True, **options)
    assert batch_sizes == []
    shutil.copy(valid, tmp_path / "later.jpg")
    result = beam_job.extract(str(photos), str(output), retry_errors=True, **options)
    assert result.errors == {"UnknownFormatError": 4}
    assert batch_sizes == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decode": "fast"}, "decode (was "),
        ({"batch_size": 3}, "batch_size (was 2, now 3)"),
        ({"engine": "tensorflow"}, 'engine (was ["openvino","fp32"], now ["tensorflow","fp32"])'),
        ({"resize": "crop"}, "preprocessing (was "),
        ({"layer": ["default:flatten"]}, "model (was "),
    ],
    ids=str,
)
def test_features_from_different_settings_are_never_mixed(
    photos: Path, tmp_path: Path, options: Options, change: Options, message: str
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    before = file_stamps(output)
    with pytest.raises(OutputError) as caught:
        beam_job.extract(str(photos), str(output), resume=True, **{**options, **change})
    assert "--resume would mix features" in str(caught.value)
    assert message in str(caught.value)
    assert file_stamps(output) == before


def test_a_receipt_never_outlives_its_shard_file(
    photos: Path, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a changed image stops between a shard and its receipt, and the image is restored afterwards."""
    output, changed = tmp_path / "out", photos / "class-1/004.jpg"
    beam_job.extract(str(photos), str(output), **options)
    expected = comparable_files(output)
    before = (changed.read_bytes(), changed.stat())
    changed.write_bytes(jpeg(photograph(45, 45, 101)))

    def fail(*_: Any) -> None:
        raise OSError("the end")

    monkeypatch.setattr(commit, "write_receipt", fail)
    with pytest.raises(JobFailedError, match="the end"):
        beam_job.extract(str(photos), str(output), resume=True, **options)
    monkeypatch.undo()
    assert not (output / naming.SUCCESS).exists()
    changed.write_bytes(before[0])
    os.utime(changed, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
    beam_job.extract(str(photos), str(output), resume=True, **options)
    assert comparable_files(output) == expected


def test_a_failed_run_can_be_resumed(photos: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    with pytest.raises(JobFailedError, match="4 of 60 examples failed"):
        beam_job.extract(str(photos), str(output), **{**options, "max_error_rate": 0.01})
    beam_job.extract(str(photos), str(output), resume=True, **options)
    assert (output / naming.SUCCESS).exists()


def test_a_second_run_on_the_same_target_is_refused(photos: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    (output / naming.WORK).mkdir(parents=True)
    with FileLock(output / naming.LOCK), pytest.raises(OutputError, match="Another run is writing to"):
        beam_job.extract(str(photos), str(output), resume=True, **options)
    beam_job.extract(str(photos), str(output), resume=True, **options)
    assert not (output / naming.WORK).exists()


def test_a_template_is_refused_while_a_run_is_active(photos: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    before = comparable_files(output)
    (output / naming.LOCK).parent.mkdir(exist_ok=True)
    with FileLock(output / naming.LOCK), pytest.raises(OutputError, match="Another run is writing"):
        template = [f"--template_location={tmp_path / 'template'}"]
        api.write_template(str(photos), str(output), overwrite=True, beam_options=template, **options)
    assert {name: data for name, data in comparable_files(output).items() if name != naming.LOCK} == before


def test_overwrite_and_resume_exclude_each_other(photos: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    with pytest.raises(OutputError, match="Give either --overwrite or --resume"):
        beam_job.extract(str(photos), str(output), resume=True, overwrite=True, **options)


def test_a_damaged_shard_is_not_carried_over(
    photos: Path, tmp_path: Path, options: Options, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    shard = output / "train-00003-of-00006.tfrecord"
    receipt = output / "receipts/train-00003-of-00006.json"
    expected = comparable_files(output)
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    receipt.write_text(receipt.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    batch_sizes.clear()
    beam_job.extract(str(photos), str(output), resume=True, **options)
    assert sum(batch_sizes) > 1
    assert comparable_files(output) == expected


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "deleted"])
def test_a_shard_that_is_not_as_long_as_its_receipt_says_is_made_again(
    photos: Path, tmp_path: Path, options: Options, damage: str, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    expected = comparable_files(output)
    batch_sizes.clear()
    shard = sorted(output.glob("*.tfrecord"))[2]
    content = shard.read_bytes()
    changed = {"cut": content[: len(content) // 2], "empty": b"", "longer": content + b"x"}
    if damage == "deleted":
        shard.unlink()
    else:
        shard.write_bytes(changed[damage])
    result = beam_job.extract(str(photos), str(output), resume=True, **options)
    assert comparable_files(output) == expected
    assert 0 < sum(batch_sizes) < 20
    assert result.extracted < result.examples
    assert beam_job.verify(str(output)).problems == ()


def test_tightened_roots_take_the_features_of_what_is_outside(tmp_path: Path, options: Options) -> None:
    for folder in ("in", "outside"):
        write_tree(tmp_path / folder, 6, ())
    images = sorted(str(path) for path in tmp_path.rglob("*.jpg"))
    (tmp_path / "images.csv").write_text("\n".join(["uri", *images]))
    output, arguments = tmp_path / "out", {**options, "max_error_rate": 1.0}
    beam_job.extract(str(tmp_path / "images.csv"), str(output), **arguments)
    assert len(records_of(output)) == 12
    roots = {"allowed_roots": [str(tmp_path / "in")]}
    result = beam_job.extract(str(tmp_path / "images.csv"), str(output), resume=True, **roots, **arguments)
    assert (result.records, result.errors) == (6, {"OutsideRootsError": 6})
    assert all("/in/" in uri or uri.startswith("in/") for uri in records_of(output))
    fresh = tmp_path / "fresh"
    beam_job.extract(str(tmp_path / "images.csv"), str(fresh), **roots, **arguments)
    assert {name: data for name, data in comparable_files(output).items() if name.endswith(".tfrecord")} == {
        name: data for name, data in comparable_files(fresh).items() if name.endswith(".tfrecord")
    }
    again = beam_job.extract(str(tmp_path / "images.csv"), str(output), resume=True, **arguments)
    assert again.records == 12


def test_a_resumed_run_tells_its_own_work_from_that_of_earlier_runs(
    photos: Path, tmp_path: Path, options: Options
) -> None:
    output = tmp_path / "out"
    first = beam_job.extract(str(photos), str(output), **options)
    assert (first.extracted, first.examples) == (60, 60)
    kept = beam_job.extract(str(photos), str(output), resume=True, **options)
    assert (kept.extracted, kept.examples, kept.stages, kept.examples_per_second) == (0, 60, {}, 0)
    (photos / "class-0/new.jpg").write_bytes(jpeg(photograph()))
    grown = beam_job.extract(str(photos), str(output), resume=True, **options)
    assert (grown.extracted, grown.examples) == (1, 61)
    timings = json.loads((output / naming.RUN).read_text())["timings"]
    assert timings["extracted"] == 1
    assert timings["all_runs"]["extracted"] < 61  # the shard that has grown was made anew, and counts what it extracted
    assert timings["all_runs"]["stages"]["decode"] >= timings["stages"]["decode"]
