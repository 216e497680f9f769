"""Complete runs of real photographs with the real model on Beam's local runner."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import beam_job
from beam_job.core import naming
from beam_job.core.errors import InputError, JobFailedError, OutputError, UsageError
from beam_job.core.options import ModelOptions
from beam_job.models.sources.builtin import BuiltinModel
from tests.support.bucket import Bucket
from tests.support.datasets import IMAGES_PER_CLASS, comparable_files, records_of, shards_of
from tests.support.runs import metrics_of_a_run


def test_every_feature_matches_a_direct_call_of_the_saved_model(samples: Path, dataset: Path) -> None:
    model: Any = tf.saved_model.load(BuiltinModel.fetch(ModelOptions()).path)
    records = records_of(dataset)
    paths = sorted(samples.rglob("*.jpg"))
    assert len(paths) == len(records) >= 1000
    for start in range(0, len(paths), 48):
        batch = paths[start : start + 48]
        pixels = [tf.image.resize(tf.io.decode_jpeg(path.read_bytes(), 3), (224, 224)) / 255.0 for path in batch]
        expected = model(tf.stack(pixels), training=False).numpy()
        found = np.stack([records[str(path.relative_to(samples))]["feature"] for path in batch])
        cosine = (expected * found).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
        assert cosine.min() >= 0.9999
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_labels_ids_and_counts(samples: Path, extracted: tuple[Path, beam_job.RunResult]) -> None:
    dataset, result = extracted
    names = (dataset / naming.LABELS).read_text().splitlines()
    assert names == sorted(path.name for path in samples.iterdir())
    records = records_of(dataset)
    assert all(names[record["label"]] == example_id.split("/")[0] for example_id, record in records.items())
    assert result.examples == result.records == len(records)
    assert {name: split["records"] for name, split in result.splits.items()} == {
        name: sum(record["split"] == name for record in records.values()) for name in ("train", "validation", "test")
    }
    per_class = [split["classes"] for split in result.splits.values()]
    assert all(sum(classes.get(name, 0) for classes in per_class) == IMAGES_PER_CLASS for name in names)
    assert 0.75 < result.splits["train"]["records"] / len(records) < 0.85


def test_run_json_records_how_the_dataset_was_made(dataset: Path) -> None:
    run = json.loads((dataset / naming.RUN).read_text())
    assert run["state"] == "complete"
    assert run["model"]["handle"] == "efficientnet-lite0"
    assert len(run["model"]["digest"]) == 64
    assert run["preprocessing"] == {
        "size": [224, 224],
        "resize": "bilinear",
        "channels": "RGB",
        "input_range": [0.0, 1.0],
        "mean": None,
        "deviation": None,
    }
    assert run["decode"]["name"] == "exact"
    assert run["options"]["splits"] == "train=0.8,validation=0.1,test=0.1"
    assert run["libraries"]["tensorflow"] == tf.__version__
    assert [shard["shard"] for shard in run["shards"]] == sorted(shard["shard"] for shard in run["shards"])
    assert (dataset / naming.SUCCESS).exists()
    assert str(dataset) not in (dataset / naming.RUN).read_text()


@pytest.fixture(scope="module")
def one_worker(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("one") / "dataset"
    beam_job.extract(str(few), str(output), worker_threads=1, read_threads=1)
    return output


@pytest.mark.parametrize(
    ("mode", "workers"), [("in_memory", 1), ("multi_threading", 2), ("multi_processing", 2)], ids=str
)
def test_bytes_do_not_depend_on_the_number_of_workers(
    few: Path, one_worker: Path, tmp_path: Path, mode: str, workers: int
) -> None:
    beam_options = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    beam_job.extract(str(few), str(tmp_path / "out"), beam_options=beam_options)
    assert comparable_files(tmp_path / "out") == comparable_files(one_worker)


@pytest.mark.parametrize(
    ("mode", "workers", "processes"),
    [("in_memory", 1, 1), ("multi_threading", 4, 1), ("multi_processing", 2, 2)],
    ids=str,
)
def test_each_process_loads_the_model_once(few: Path, tmp_path: Path, mode: str, workers: int, processes: int) -> None:
    arguments = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    metrics = metrics_of_a_run(few, tmp_path / "out", arguments)
    assert 1 <= metrics["model_loads"] <= processes
    assert (metrics["examples"], metrics["records"], metrics["shards"]) == (40, 40, 8)
    assert metrics.get("errors", 0) == 0
    assert metrics["model_milliseconds"] > 0


INVALID = {
    "cat/empty.jpg": b"",
    "cat/text.jpg": b"not an image",
    "coffee/half.jpg": None,
    "coffee/dangling.jpg": "link",
}


@pytest.fixture
def with_invalid_images(few: Path, tmp_path: Path) -> Path:
    root = tmp_path / "photographs"
    shutil.copytree(few, root)
    good = next(root.glob("cat/*.jpg")).read_bytes()
    for name, content in INVALID.items():
        if content == "link":
            (root / name).symlink_to(root / "nowhere.jpg")
        else:
            (root / name).write_bytes(good[: len(good) // 2] if content is None else content)
    return root


def test_invalid_images_become_error_rows_and_the_others_give_features(
    with_invalid_images: Path, tmp_path: Path, small_model: dict[str, str]
) -> None:
    output = tmp_path / "out"
    result = beam_job.extract(str(with_invalid_images), str(output), max_error_rate=0.1, num_shards=3, **small_model)
    rows = {row["id"]: row for row in map(json.loads, (output / naming.ERRORS).read_text().splitlines())}
    assert {name: row["error"] for name, row in rows.items()} == {
        "cat/empty.jpg": "EmptyFileError",
        "cat/text.jpg": "UnknownFormatError",
        "coffee/half.jpg": "CorruptExampleError",
        "coffee/dangling.jpg": "NotFoundError",
    }
    assert all(set(row) == {"id", "uri", "stage", "error", "message"} for row in rows.values())
    assert (result.examples, result.records, sum(result.errors.values())) == (44, 40, 4)
    assert len(records_of(output)) == 40


def test_too_many_invalid_images_fail_the_job(
    with_invalid_images: Path, tmp_path: Path, small_model: dict[str, str]
) -> None:
    output = tmp_path / "out"
    with pytest.raises(JobFailedError, match=r"4 of 44 examples failed \(.*\), more than --max_error_rate=0.01 allows"):
        beam_job.extract(str(with_invalid_images), str(output), **small_model)
    assert not (output / naming.SUCCESS).exists()
    assert len((output / naming.ERRORS).read_text().splitlines()) == 4
    assert json.loads((output / naming.RUN).read_text())["state"] == "failed"


def test_a_run_without_any_features_fails(tmp_path: Path, small_model: dict[str, str]) -> None:
    (tmp_path / "in/cat").mkdir(parents=True)
    (tmp_path / "in/cat/a.jpg").write_bytes(b"")
    with pytest.raises(JobFailedError, match="None of the 1 examples gave features"):
        beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), max_error_rate=1.0, **small_model)


def test_an_empty_input_fails(tmp_path: Path, small_model: dict[str, str]) -> None:
    (tmp_path / "in/cat").mkdir(parents=True)
    with pytest.raises(InputError, match="Found no example in"):
        beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), **small_model)
    assert not (tmp_path / "out" / naming.SUCCESS).exists()


def write_manifest(few: Path, path: Path) -> Path:
    """Writes a manifest with splits, groups, ids, integer labels, missing labels, and two invalid rows."""
    rows = []
    for number, image in enumerate(sorted(few.rglob("*.jpg"))):
        row: dict[str, Any] = {"uri": str(image), "id": f"image {number}", "label": number % 3}
        if number % 4 == 0:
            row |= {"split": "held_out", "label": None}
        else:
            row["group"] = f"group {number % 7}"
        rows.append(json.dumps(row))
    rows[5:5] = ['{"label": "no uri"}', "no json"]
    path.write_text("\n".join(rows))
    return path


def test_a_manifest_with_all_its_columns(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    path = write_manifest(few, tmp_path / "images.jsonl")
    output = tmp_path / "out"
    result = beam_job.extract(str(path), str(output), splits="train=0.5,test=0.5", max_error_rate=0.1, **small_model)
    records = records_of(output)
    assert (result.examples, result.records, result.errors) == (42, 40, {"BadReferenceError": 2})
    assert (output / naming.LABELS).read_text() == "0\n1\n2\n"
    groups: dict[int, set[str]] = {}
    for number in range(40):
        record = records[f"image {number}"]
        if number % 4 == 0:
            assert (record["split"], record["label"]) == ("held_out", -1)
        else:
            assert record["label"] == number % 3
            groups.setdefault(number % 7, set()).add(record["split"])
    assert all(len(splits) == 1 for splits in groups.values())
    assert result.splits["held_out"]["unlabelled"] == 10


def test_repeated_ids_end_the_run_before_any_work(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    image = next(few.rglob("*.jpg"))
    path = tmp_path / "images.csv"
    path.write_text(f"uri,id\n{image},a\n{image},b\n{image},a\n")
    with pytest.raises(InputError, match=r"found repeated: 'a' \(2 times: "):
        beam_job.extract(str(path), str(tmp_path / "out"), num_shards=5, **small_model)
    assert shards_of(tmp_path / "out") == {}


def test_a_vocabulary_from_a_file(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("rocket\ncoins\ncoffee\ncat\nunused\n")
    output = tmp_path / "out"
    beam_job.extract(str(few), str(output), labels=str(labels), **small_model)
    assert (output / naming.LABELS).read_text() == labels.read_text()
    assert {record["label"] for name, record in records_of(output).items() if name.startswith("rocket/")} == {0}


def test_more_shards_than_images(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(few), str(output), num_shards=60, **small_model)
    assert len(shards_of(output)) == 60
    assert len(records_of(output)) == 40


def test_a_target_that_is_not_empty_is_refused(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(few), str(output), num_shards=7, **small_model)
    before = comparable_files(output)
    with pytest.raises(
        OutputError,
        match=r"There is already a dataset at .*; choose another --output, or give --overwrite to replace it",
    ):
        beam_job.extract(str(few), str(output), **small_model)
    assert comparable_files(output) == before
    beam_job.extract(str(few), str(output), num_shards=2, overwrite=True, **small_model)
    assert sorted(shards_of(output)) == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert len(list((output / naming.RECEIPTS).iterdir())) == 2


def test_other_files_are_never_deleted(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"found 1 other files .*thesis.txt"):
        beam_job.extract(str(few), str(output), overwrite=True, **small_model)
    assert (output / "thesis.txt").read_text() == "years of work"


def test_a_directory_of_photographs_is_never_overwritten(few: Path, small_model: dict[str, str]) -> None:
    with pytest.raises(OutputError, match="other files"):
        beam_job.extract(str(few), str(few), overwrite=True, **small_model)


def test_from_bucket_to_bucket(bucket: Bucket, few: Path, one_worker: Path, tmp_path: Path) -> None:
    for path in few.rglob("*.jpg"):
        bucket.write(f"{tmp_path.name}/in/{path.relative_to(few)}", path.read_bytes())
    output = bucket.url(f"{tmp_path.name}/out")
    result = beam_job.extract(bucket.url(f"{tmp_path.name}/in"), output)
    assert result.records == 40
    prefix = f"{tmp_path.name}/out/"
    names = [name.removeprefix(prefix) for name in bucket.list(prefix)]
    assert {name: bucket.read(prefix + name) for name in names if name.endswith(".tfrecord")} == shards_of(one_worker)
    assert sorted(names) == sorted(comparable_files(one_worker))
    assert "_SUCCESS" in names
    with pytest.raises(OutputError, match="already"):
        beam_job.extract(bucket.url(f"{tmp_path.name}/in"), output)


def test_unknown_options_are_refused(few: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no option 'max_eror_rate'; did you mean 'max_error_rate'\?"):
        beam_job.extract(str(few), str(tmp_path / "out"), max_eror_rate=0.1)
    with pytest.raises(UsageError, match=r"no option '--runer=FlinkRunner'; did you mean '--runner'\?"):
        beam_job.extract(str(few), str(tmp_path / "out"), beam_options=["--runer=FlinkRunner"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_target_that_cannot_be_written(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        beam_job.extract(str(few), str(tmp_path / "locked/out"), **small_model)


def test_a_target_below_a_file_cannot_be_written(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be written|to be a directory"):
        beam_job.extract(str(few), str(tmp_path / "file/out"), **small_model)


def test_a_run_on_openvino_never_imports_tensorflow(few: Path, tmp_path: Path) -> None:
    code = (
        "import sys, beam_job\n"
        f"result = beam_job.extract({str(few)!r}, {str(tmp_path / 'out')!r}, engine='openvino')\n"
        "assert result.engine['name'] == 'openvino', result.engine\n"
        "heavy = {'tensorflow', 'keras', 'tensorflow_hub', 'jax', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)


def test_engine_and_precision_are_recorded(few: Path, tmp_path: Path) -> None:
    result = beam_job.extract(str(few), str(tmp_path / "out"), engine="tensorflow")
    run = json.loads((tmp_path / "out" / naming.RUN).read_text())
    assert run["engine"] == {"name": "tensorflow", "precision": "fp32", "reason": "requested", "parity": None}
    assert result.engine == run["engine"]
