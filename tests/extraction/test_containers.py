"""Runs over containers: the same features as from loose files, each piece read once, nothing lost when it is killed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
import webdataset
from datasets.table import embed_table_storage
from pyarrow import parquet

import beam_job
from beam_job.core import naming
from beam_job.core.errors import InputError, JobFailedError
from beam_job.dataset import staging
from beam_job.extraction import settling
from tests.support.bucket import Bucket
from tests.support.datasets import comparable_files, error_rows_of, records_of
from tests.support.images import jpeg, photograph, write_tree
from tests.support.kills import KILLS, check_killed_runs
from tests.support.portable import portable_runner
from tests.support.tars import write_tar
from tests.support.tfrecords import example

Options = dict[str, Any]
CLASSES = ("cat", "dog", "eel")


@pytest.fixture(scope="module")
def options(small_model: dict[str, str]) -> Options:
    return {**small_model, "engine": "openvino", "max_error_rate": 0.5}


def members(number: int, count: int = 10, classes: tuple[str, ...] = CLASSES) -> list[tuple[str, bytes]]:
    """Samples of a tar file: images with their class."""
    found = []
    for place in range(count):
        name = f"{number:02d}{place:03d}"
        content = jpeg(photograph(40 + place, 40, 1000 * number + place))
        found += [(f"{name}.jpg", content), (f"{name}.cls", classes[place % len(classes)].encode())]
    return found


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Four tar files of ten images; the third one is cut off, and one image of the fourth is none."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(4):
        write_tar(folder / f"{number}.tar", members(number))
    content = (folder / "2.tar").read_bytes()
    (folder / "2.tar").write_bytes(content[: len(content) // 2])
    write_tar(folder / "3.tar", [*members(3, 9), ("broken.jpg", b"\xff\xd8\xffno image")])
    return folder


def names_of(output: Path) -> list[str]:
    return (output / naming.LABELS).read_text().splitlines()


def labels_of(output: Path) -> dict[str, str | None]:
    """Id to the name of the label."""
    names = names_of(output)
    return {
        name: names[label] if (label := record["label"]) >= 0 else None for name, record in records_of(output).items()
    }


def test_features_are_those_of_loose_files(tmp_path: Path, options: Options) -> None:
    root = tmp_path / "photos"
    write_tree(root, 30, ())
    loose = sorted(root.rglob("*.jpg"))
    write_tar(
        tmp_path / "photos.tar.gz", [(str(path.relative_to(tmp_path)), path.read_bytes()) for path in loose], "w:gz"
    )
    beam_job.extract(str(root), str(tmp_path / "a"), **options)
    beam_job.extract(str(tmp_path / "photos.tar.gz"), str(tmp_path / "b"), **options)
    expected, found = records_of(tmp_path / "a"), records_of(tmp_path / "b")
    assert {f"photos.tar.gz/photos/{name}" for name in expected} == set(found)
    for name, record in expected.items():
        other = found[f"photos.tar.gz/photos/{name}"]
        np.testing.assert_array_equal(other["feature"], record["feature"])
        assert other["label"] == record["label"]
    assert names_of(tmp_path / "a") == names_of(tmp_path / "b")
    assert list(found) == [f"photos.tar.gz/{path.relative_to(tmp_path)}" for path in loose]
    assert beam_job.verify(str(tmp_path / "b")).problems == ()


def by_webdataset(folder: Path, loose: list[Path]) -> dict[str, Path]:
    with webdataset.TarWriter(str(folder / "set.tar")) as writer:
        for number, path in enumerate(loose):
            writer.write({"__key__": f"{number:04d}", "jpg": path.read_bytes(), "cls": path.parent.name.encode()})
    return {f"set.tar/{number:04d}.jpg": path for number, path in enumerate(loose)}


def by_zipfile(folder: Path, loose: list[Path]) -> dict[str, Path]:
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in loose:
            archive.write(path, f"photos/{path.parent.name}/{path.name}")
    return {f"set.zip/photos/{path.parent.name}/{path.name}": path for path in loose}


def by_datasets(folder: Path, loose: list[Path]) -> dict[str, Path]:
    names = sorted({path.parent.name for path in loose})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {"image": [str(path) for path in loose], "label": [path.parent.name for path in loose]}
    table = datasets.Dataset.from_dict(rows, features=features).with_format("arrow")
    table.map(embed_table_storage, batched=True).to_parquet(folder / "set.parquet")
    return {f"set.parquet/{number}": path for number, path in enumerate(loose)}


def by_pandas(folder: Path, loose: list[Path]) -> dict[str, Path]:
    rows = {"jpg": [path.read_bytes() for path in loose], "label": [path.parent.name for path in loose]}
    pd.DataFrame(rows).to_parquet(folder / "set.parquet")
    return {f"set.parquet/{number}": path for number, path in enumerate(loose)}


def by_tensorflow(folder: Path, loose: list[Path]) -> dict[str, Path]:
    with tf.io.TFRecordWriter(str(folder / "set.tfrecord.gz"), tf.io.TFRecordOptions("GZIP")) as writer:
        for path in loose:
            writer.write(example(image__encoded=path.read_bytes(), image__class__label=path.parent.name))
    return {f"set.tfrecord.gz/{number}": path for number, path in enumerate(loose)}


@pytest.mark.parametrize("write", [by_webdataset, by_zipfile, by_datasets, by_pandas, by_tensorflow])
def test_every_format_gives_the_features_of_loose_files(
    tmp_path: Path, options: Options, write: Callable[[Path, list[Path]], dict[str, Path]]
) -> None:
    root = tmp_path / "photos"
    write_tree(root, 12, ())
    folder = tmp_path / "container"
    folder.mkdir()
    paths = write(folder, sorted(root.rglob("*.jpg")))
    beam_job.extract(str(root), str(tmp_path / "a"), **options)
    beam_job.extract(str(folder), str(tmp_path / "b"), **options)
    expected, found = records_of(tmp_path / "a"), records_of(tmp_path / "b")
    assert set(found) == set(paths)
    assert names_of(tmp_path / "a") == names_of(tmp_path / "b")
    for name, path in paths.items():
        record = expected[str(path.relative_to(root))]
        np.testing.assert_array_equal(found[name]["feature"], record["feature"])
        assert found[name]["label"] == record["label"]


def test_every_example_is_a_record_or_a_row(tars: Path, tmp_path: Path, options: Options) -> None:
    result = beam_job.extract(str(tars), str(tmp_path / "out"), **options)
    rows = error_rows_of(tmp_path / "out")
    assert Counter(row["error"] for row in rows.values()) == {
        "DamagedContainerError": 1,
        "CorruptExampleError": 1,
    }
    assert result.examples == result.records + len(rows)
    found = labels_of(tmp_path / "out")
    assert {name: label for name, label in found.items() if name.startswith("0.tar")} == {
        f"0.tar/00{place:03d}.jpg": CLASSES[place % 3] for place in range(10)
    }
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tfrecord")) == [
        f"train-{index:05d}-of-00004.tfrecord" for index in range(4)
    ]
    assert beam_job.verify(str(tmp_path / "out")).problems == ()
    assert not (tmp_path / "out" / naming.WORK).exists()


def test_all_examples_that_are_lost_count(tmp_path: Path, options: Options) -> None:
    """A row group of ten is damaged, which is one row of 31, and a quarter of the examples."""
    images = [jpeg(photograph(40, 40, number)) for number in range(40)]
    path = tmp_path / "0.parquet"
    parquet.write_table(pa.table({"image": images}), path, row_group_size=10, compression="none")
    place = parquet.read_metadata(path).row_group(2).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(JobFailedError, match="10 of 40 examples failed"):
        beam_job.extract(str(path), str(tmp_path / "a"), **{**options, "max_error_rate": 0.2})
    result = beam_job.extract(str(path), str(tmp_path / "b"), **{**options, "max_error_rate": 0.5})
    (row,) = error_rows_of(tmp_path / "b").values()
    assert row["lost"] + result.records == 40
    assert beam_job.verify(str(tmp_path / "b")).problems == ()


def test_splits_by_hash_and_by_name(tmp_path: Path, options: Options) -> None:
    for number, split in enumerate(("train", "train", "test")):
        write_tar(tmp_path / f"{split}-{number}.tar", members(number))
    beam_job.extract(str(tmp_path / "*.tar"), str(tmp_path / "named"), **options)
    assert Counter(record["split"] for record in records_of(tmp_path / "named").values()) == {"train": 20, "test": 10}
    assert len(list((tmp_path / "named").glob("test-00000-of-00001.tfrecord"))) == 1
    beam_job.extract(str(tmp_path / "*.tar"), str(tmp_path / "hashed"), splits="train=0.5,validation=0.5", **options)
    found = records_of(tmp_path / "hashed")
    assert {record["split"] for record in found.values()} == {"train", "validation"}
    assert len(list((tmp_path / "hashed").glob("train-*-of-00003.tfrecord"))) == 3
    assert beam_job.verify(str(tmp_path / "hashed")).problems == ()
    for name, record in records_of(tmp_path / "named").items():
        np.testing.assert_array_equal(found[name]["feature"], record["feature"])


@pytest.mark.parametrize(("mode", "workers"), [("multi_threading", 2), ("multi_processing", 2)], ids=str)
def test_bytes_do_not_depend_on_the_workers(
    tars: Path, tmp_path: Path, options: Options, mode: str, workers: int
) -> None:
    beam_job.extract(str(tars), str(tmp_path / "one"), worker_threads=1, **options)
    beam_options = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    beam_job.extract(str(tars), str(tmp_path / "many"), beam_options=beam_options, worker_threads=3, **options)
    assert comparable_files(tmp_path / "one") == comparable_files(tmp_path / "many")


def test_a_complete_run_is_left_unchanged(tars: Path, tmp_path: Path, options: Options, batch_sizes: list[int]) -> None:
    output = tmp_path / "out"
    first = beam_job.extract(str(tars), str(output), **options)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    batch_sizes.clear()
    result = beam_job.extract(str(tars), str(output), resume=True, **options)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path != output} == {
        path: stamp for path, stamp in before.items() if path != output
    }
    assert batch_sizes == []
    assert (result.examples, result.records) == (first.examples, first.records)


def check_the_same_as_anew(source: Path, output: Path, options: Options) -> None:
    """Checks that a dataset is the one that a run from the start would have made."""
    anew = output.with_name("anew")
    beam_job.extract(str(source), str(anew), **options)
    assert comparable_files(output) == comparable_files(anew)
    assert beam_job.verify(str(output)).problems == ()
    shutil.rmtree(anew)


def test_a_new_container_costs_itself(tars: Path, tmp_path: Path, options: Options, batch_sizes: list[int]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(tars), str(output), **options)
    write_tar(tars / "00.tar", members(7, 6, ("ant",)))  # the first one, with a label before the others
    batch_sizes.clear()
    beam_job.extract(str(tars), str(output), resume=True, **options)
    assert sum(batch_sizes) == 6
    assert names_of(output)[0] == "ant"
    check_the_same_as_anew(tars, output, options)


def test_a_changed_container_costs_itself(tars: Path, tmp_path: Path, options: Options, batch_sizes: list[int]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(tars), str(output), **options)
    write_tar(tars / "1.tar", members(8, 4))
    batch_sizes.clear()
    beam_job.extract(str(tars), str(output), resume=True, **options)
    assert sum(batch_sizes) == 4
    check_the_same_as_anew(tars, output, options)


def test_shards_that_change_places_do_not_overwrite_each_other(
    tars: Path, tmp_path: Path, options: Options, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(tars), str(output), **options)
    (tars / "3.tar").unlink()
    write_tar(tars / "-.tar", members(9, 3))  # the first one: every other one moves by a place
    batch_sizes.clear()
    beam_job.extract(str(tars), str(output), resume=True, **options)
    assert sum(batch_sizes) == 3
    check_the_same_as_anew(tars, output, options)


def test_a_run_that_fails_while_shards_get_their_names_is_resumed(
    tars: Path, tmp_path: Path, options: Options, batch_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(tars), str(output), **options)
    (tars / "3.tar").unlink()
    write_tar(tars / "-.tar", members(9, 3))
    original, calls = settling.settle_shard, Counter[str]()

    def fail(config: Any, layout: Any, shard: Any) -> Any:
        calls["all"] += 1
        if calls["all"] == 3:
            raise JobFailedError("stopped")
        return original(config, layout, shard)

    with monkeypatch.context() as patch:
        patch.setattr("beam_job.beam.transforms.settle_shard", fail)
        with pytest.raises(JobFailedError, match="stopped"):
            beam_job.extract(str(tars), str(output), resume=True, **options)
    assert not (output / naming.SUCCESS).exists()
    batch_sizes.clear()
    beam_job.extract(str(tars), str(output), resume=True, **options)
    assert batch_sizes == []
    check_the_same_as_anew(tars, output, options)


def test_errors_are_tried_again_piece_by_piece(
    tars: Path, tmp_path: Path, options: Options, batch_sizes: list[int]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(tars), str(output), **options)
    batch_sizes.clear()
    beam_job.extract(str(tars), str(output), retry_errors=True, **options)
    whole = len(labels_of(output))
    assert 0 < sum(batch_sizes) < whole - 10
    check_the_same_as_anew(tars, output, options)


def test_labels_that_are_not_in_the_vocabulary_are_rows(tars: Path, tmp_path: Path, options: Options) -> None:
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    given = {**options, "labels": str(tmp_path / "labels.txt"), "max_error_rate": 0.9}
    beam_job.extract(str(tars), str(tmp_path / "out"), **given)
    rows = error_rows_of(tmp_path / "out")
    unknown = [row for row in rows.values() if row["error"] == "UnknownLabelError"]
    assert unknown
    assert all("'eel'" in row["message"] for row in unknown)
    assert names_of(tmp_path / "out") == ["dog", "cat"]
    beam_job.extract(str(tars), str(tmp_path / "out"), resume=True, **given)
    check_the_same_as_anew(tars, tmp_path / "out", given)


def test_folders_that_all_examples_share_are_no_labels(tmp_path: Path, options: Options) -> None:
    images = {name: jpeg(photograph(40, 40, place)) for place, name in enumerate(CLASSES)}
    for number in range(2):
        found = [(f"photos/{name}/{number}.jpg", content) for name, content in images.items()]
        write_tar(tmp_path / f"{number}.tar", found)
    beam_job.extract(str(tmp_path / "*.tar"), str(tmp_path / "out"), **options)
    assert names_of(tmp_path / "out") == list(CLASSES)
    write_tar(tmp_path / "2.tar", [("other/x/1.jpg", images["cat"])])
    beam_job.extract(str(tmp_path / "*.tar"), str(tmp_path / "out"), resume=True, **options)
    assert names_of(tmp_path / "out") == ["other", "photos"]
    run = json.loads((tmp_path / "out" / naming.RUN).read_text())
    assert run["splits"]["train"]["classes"] == {"other": 1, "photos": 6}


def test_a_staged_shard_that_is_damaged_ends_the_run(
    tars: Path, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = staging.write_staged

    def damage(output: str, key: str, piece: Any) -> None:
        for path in (Path(output) / naming.PIECES).glob(f"{key}-*.tfrecord"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        original(output, key, piece)

    monkeypatch.setattr(staging, "write_staged", damage)
    with pytest.raises(JobFailedError, match="damaged"):
        beam_job.extract(str(tars), str(tmp_path / "out"), **options)
    assert not (tmp_path / "out" / naming.SUCCESS).exists()


def test_plan_says_what_the_run_then_finds(tars: Path, tmp_path: Path, options: Options) -> None:
    plan = beam_job.plan(str(tars), str(tmp_path / "out"), **options)
    result = beam_job.extract(str(tars), str(tmp_path / "out"), **options)
    run = json.loads((tmp_path / "out" / naming.RUN).read_text())
    assert plan.total == result.examples
    assert plan.shards == {name: split["shards"] for name, split in run["splits"].items()}
    assert plan.classes == run["classes"]
    assert plan.examples_per_second
    write_tar(tars / "1.tar", members(8, 4))
    (tars / "0.tar").unlink()
    again = beam_job.plan(str(tars), str(tmp_path / "out"), resume=True, **options)
    assert (again.changed, again.removed, again.carried_over) == (10, 10, result.examples - 20)


def test_a_head_and_a_report(tars: Path, tmp_path: Path, options: Options) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(tars), str(output), splits="train=0.6,test=0.4", **options)
    beam_job.train_head(str(output), epochs=2)
    page = Path(beam_job.report(str(output)).report).read_text()
    assert "data:image/jpeg;base64" in page or "data:image/webp;base64" in page


@pytest.mark.parametrize(
    ("input_name", "column", "words"),
    [
        ("photos", "label_key", "--label_key goes with tar files"),
        ("0.tar", "text_column", "goes with a manifest"),
    ],
    ids=["label_key", "text_column"],
)
def test_an_option_for_another_input_is_refused(
    tmp_path: Path, options: Options, input_name: str, column: str, words: str
) -> None:
    write_tree(tmp_path / "photos", 3, ())
    write_tar(tmp_path / "0.tar", members(0, 1))
    with pytest.raises(InputError, match=words):
        beam_job.extract(str(tmp_path / input_name), str(tmp_path / "out"), **{**options, column: "x"})


@pytest.mark.parametrize("apart", [False, True], ids=["in one file", "in two files"])
def test_ids_of_a_column_that_are_repeated_end_the_run(tmp_path: Path, options: Options, apart: bool) -> None:
    image = jpeg(photograph(40, 40, 1))
    names = [["a", "b"], ["a" if apart else "c", "d" if apart else "c"]]
    for number, found in enumerate(names):
        table = pa.table({"image": [image] * 2, "name": found})
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    with pytest.raises(beam_job.BeamJobError, match="unique id"):
        beam_job.extract(str(tmp_path / "*.parquet"), str(tmp_path / "out"), id_column="name", **options)
    assert not (tmp_path / "out" / naming.SUCCESS).exists()


def test_labels_in_ids(tmp_path: Path, options: Options) -> None:
    found = [(f"{number}_{CLASSES[number % 3]}.jpg", jpeg(photograph(40, 40, number))) for number in range(5)]
    write_tar(tmp_path / "0.tar", [*found, ("6.jpg", jpeg(photograph(40, 40, 6)))])
    beam_job.extract(str(tmp_path / "0.tar"), str(tmp_path / "a"), label_pattern=r"_([a-z]+)\.jpg", **options)
    for name, content in found:
        (tmp_path / name).write_bytes(content)
    beam_job.extract(str(tmp_path / "*.jpg"), str(tmp_path / "b"), label_pattern=r"(?<=_)[a-z]+", **options)
    assert names_of(tmp_path / "a") == names_of(tmp_path / "b") == list(CLASSES)
    loose = labels_of(tmp_path / "b")
    assert labels_of(tmp_path / "a") == {f"0.tar/{name}": label for name, label in loose.items()} | {
        "0.tar/6.jpg": None
    }
    with pytest.raises(beam_job.BeamJobError, match="regular expression is wrong"):
        beam_job.extract(str(tmp_path / "*.jpg"), str(tmp_path / "c"), label_pattern="(", **options)


def test_class_names_of_the_input_are_the_vocabulary(tmp_path: Path, options: Options) -> None:
    described = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["zebra", "ant", "bee"]}}}}
    table = pa.table({"image": [jpeg(photograph(40, 40, number)) for number in range(4)], "label": [1, 0, -1, 1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    parquet.write_table(table, tmp_path / "train.parquet")
    beam_job.extract(str(tmp_path / "train.parquet"), str(tmp_path / "out"), **options)
    assert names_of(tmp_path / "out") == ["zebra", "ant", "bee"]
    assert [record["label"] for record in records_of(tmp_path / "out").values()] == [1, 0, -1, 1]


def test_a_container_without_an_example_is_told(tmp_path: Path, options: Options) -> None:
    write_tar(tmp_path / "0.tar", [("readme.md", b"x")])
    with pytest.raises(InputError, match=r"Found no example in .*1 \.md"):
        beam_job.extract(str(tmp_path / "0.tar"), str(tmp_path / "out"), **options)


def tables_of_lists(folder: Path) -> None:
    """Parquet files with a list of labels, or none, in each row."""
    for number in range(12):
        found = members(number, 40)
        rows = zip(found[::2], found[1::2], strict=True)
        lists = [[content.decode()] * (place % 3) + ["all"] for place, (_, (_, content)) in enumerate(rows)]
        table = pa.table({"image": [content for _, content in found[::2]], "labels": lists})
        parquet.write_table(table, folder / f"{number:02d}.parquet", row_group_size=10)


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_run_killed_at_any_point_is_resumed_to_the_same_bytes(
    small_model: dict[str, str], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "containers"
    folder.mkdir()
    if kind == "parquet":
        tables_of_lists(folder)
    else:
        for number in range(12):
            write_tar(folder / f"{number:02d}.tar", members(number, 40))
    options = [f"--{name}={value}" for name, value in small_model.items()]
    check_killed_runs([f"--input={folder}", "--engine=openvino", *options], tmp_path, max(4, KILLS // 10))


def test_containers_of_a_bucket(bucket: Bucket, tars: Path, tmp_path: Path, options: Options) -> None:
    for path in sorted(tars.iterdir()):
        bucket.write(f"tars/{path.name}", path.read_bytes())
    beam_job.extract(bucket.url("tars"), bucket.url("tars-features"), **options)
    beam_job.extract(str(tars), str(tmp_path / "out"), **options)
    for path in (tmp_path / "out").glob("*.tfrecord"):
        assert bucket.read(f"tars-features/{path.name}") == path.read_bytes()
    assert beam_job.verify(bucket.url("tars-features")).problems == ()
    assert not bucket.list("tars-features/.work")


@pytest.mark.timeout(180)
def test_the_portable_runner_gives_the_same_bytes(tars: Path, tmp_path: Path, options: Options) -> None:
    with portable_runner(tmp_path) as beam_options:
        beam_job.extract(str(tars), str(tmp_path / "out"), beam_options=beam_options, **options)
        write_tar(tars / "00.tar", members(7, 6, ("ant",)))
        beam_job.extract(str(tars), str(tmp_path / "out"), resume=True, beam_options=beam_options, **options)
    check_the_same_as_anew(tars, tmp_path / "out", options)
