import json
from pathlib import Path
from typing import Any

import pytest

import beam_job
from beam_job.cli.main import main
from beam_job.core.errors import InputError, OutputError
from tests.support.images import jpeg, photograph, write_tree


@pytest.fixture(scope="module")
def options(small_model: dict[str, str]) -> dict[str, Any]:
    return {**small_model, "engine": "openvino", "max_error_rate": 0.5}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """30 images in three classes, two of them invalid."""
    root = tmp_path / "photos"
    write_tree(root, 30, (5, 25))
    return root


def test_a_plan_matches_the_run(photos: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    output, splits = tmp_path / "out", "train=0.8,test=0.2"
    plan = beam_job.plan(str(photos), str(output), splits=splits, num_shards=3, **options)
    assert not output.exists()
    result = beam_job.extract(str(photos), str(output), splits=splits, num_shards=3, **options)
    assert plan.examples == {split: content["examples"] for split, content in result.splits.items()}
    assert plan.shards == {"train": 3, "test": 3}
    assert (plan.total, plan.classes, plan.to_extract, plan.carried_over) == (30, 3, 30, 0)
    assert plan.features == result.features
    assert plan.engine["name"] == result.engine["name"]
    size = sum(path.stat().st_size for path in output.glob("*.tfrecord"))
    assert plan.output_bytes == pytest.approx(size, rel=0.2)
    assert plan.examples_per_second is not None
    assert plan.seconds == pytest.approx(30 / plan.examples_per_second)


def test_a_plan_distinguishes_new_changed_and_known_examples(
    photos: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    for number in (100, 101):
        (photos / f"class-0/{number}.jpg").write_bytes(jpeg(photograph(40, 50, number)))
    (photos / "class-0/000.jpg").write_bytes(jpeg(photograph(41, 50, 0)))
    (photos / "class-1/001.jpg").unlink()
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    plan = beam_job.plan(str(photos), str(output), resume=True, **options)
    assert (plan.total, plan.to_extract, plan.carried_over) == (31, 3, 28)
    assert (plan.changed, plan.removed, plan.retried) == (1, 1, 0)
    retry = beam_job.plan(str(photos), str(output), retry_errors=True, **options)
    assert (retry.to_extract, retry.carried_over, retry.retried) == (5, 26, 2)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_a_plan_is_refused_if_the_run_would_be(photos: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(photos), str(output), **options)
    with pytest.raises(OutputError, match="There is already a dataset at"):
        beam_job.plan(str(photos), str(output), **options)
    manifest = tmp_path / "images.csv"
    manifest.write_text("uri,id\nphotos/class-0/000.jpg,a\nphotos/class-0/003.jpg,a\n")
    with pytest.raises(InputError, match="found repeated: 'a'"):
        beam_job.plan(str(manifest), str(tmp_path / "other"), **options)


def test_without_a_valid_image_the_time_is_unknown(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"not an image")
    plan = beam_job.plan(str(tmp_path / "photos"), str(tmp_path / "out"), **{**options, "engine": "tensorflow"})
    assert (plan.examples_per_second, plan.seconds, plan.output_bytes) == (None, None, None)


def test_on_the_command_line(
    photos: Path, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--input={photos}", f"--output={tmp_path / 'out'}"]
    arguments += [f"--{name}={value}" for name, value in options.items()]
    assert main(["plan", *arguments]) == 0
    text = capsys.readouterr().out
    assert "30 in 3 classes" in text
    assert "30: 30 new, 0 changed, 0 that failed before" in text
    assert main(["extract", *arguments, "--dry_run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["to_extract"] == 30
    assert not (tmp_path / "out").exists()
