"""The seams are real: a member of each open set is one class and one registry entry, and a whole run needs no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import beam_job
from beam_job.core.errors import ModelError, UsageError
from beam_job.dataset.reading import Dataset
from beam_job.engines.registry import ENGINES
from beam_job.inputs.registry import INPUTS
from beam_job.modalities.base import Modality
from beam_job.modalities.registry import MODALITIES
from beam_job.models.registry import MODEL_SOURCES
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.runtime.registry import Entry
from tests.modalities.contract import ModalityContract
from tests.outputs.contract import ShardFormatContract
from tests.seams.toys import CountingEngine, Histograms, MadeModel
from tests.support.datasets import comparable_files

TOYS = {
    INPUTS: ("list", "ListFile"),
    MODEL_SOURCES: ("made", "MadeModel"),
    ENGINES: ("counting", "CountingEngine"),
    MODALITIES: ("histogram", "Histograms"),
    SHARD_FORMATS: ("lines", "JsonLines"),
}
pytestmark = pytest.mark.usefixtures("toys", "in_this_process")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One entry per registry."""
    for registry, (name, member) in TOYS.items():
        monkeypatch.setitem(registry.entries, name, Entry(f"tests.seams.toys:{member}"))  # type: ignore[attr-defined]
    monkeypatch.setattr(MadeModel, "folder", tmp_path_factory.mktemp("made"), raising=False)
    CountingEngine.ran.clear()


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    """30 files of bytes in two classes, an empty one and one of another modality."""
    random, names = np.random.default_rng(0), []
    for number in range(30):
        names.append(f"{number:02}{('.bin', '.txt')[number % 2]}")
        high = (256, 128)[number % 2]
        (tmp_path / names[-1]).write_bytes(random.integers(0, high, 2000, np.uint8).tobytes())
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "other.jpg").write_bytes(b"not listed")
    path = tmp_path / "files.list"
    path.write_text("\n".join([*names, "empty.bin", "other.jpg"]))
    return path


@pytest.fixture
def options() -> dict[str, Any]:
    return {
        "model": "made:5",
        "engine": "counting",
        "format": ["lines"],
        "num_shards": 3,
        "max_error_rate": 0.1,
        "splits": "train=0.6,validation=0.2,test=0.2",
    }


def test_a_whole_run_of_toys(listing: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    output = tmp_path / "out"
    plan = beam_job.plan(str(listing), str(output), **options)
    assert (plan.total, plan.classes, plan.model["modality"]) == (31, 2, "histogram")
    result = beam_job.extract(str(listing), str(output), **options)
    assert (result.examples, result.records, result.errors) == (31, 30, {"EmptyFileError": 1})
    assert result.engine["name"] == "counting"
    assert plan.features == result.features == {"feature": (5,)}
    assert len(list(output.glob("*.lines"))) == 9
    assert beam_job.verify(str(output)).problems == ()

    model = tf.saved_model.load(str(MadeModel.folder / "5")).signatures["serving_default"]
    for split in result.splits:
        table = Dataset.open(str(output)).table(split)
        for example_id, feature in zip(table.ids, table.features, strict=True):
            histogram = Histograms().prepare((tmp_path / example_id).read_bytes())
            expected = model(histograms=tf.constant(histogram[np.newaxis]))["sums"].numpy()[0]
            np.testing.assert_allclose(feature, expected, rtol=1e-5)
        loaded = list(beam_job.load_features(str(output), split).as_numpy_iterator())
        assert [label for _, label in loaded] == table.labels.tolist()


def test_a_run_of_toys_is_resumed(listing: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(listing), str(output), **options)
    expected = comparable_files(output)
    (tmp_path / "00.bin").write_bytes(b"changed")
    CountingEngine.ran.clear()
    beam_job.extract(str(listing), str(output), resume=True, **options)
    assert sum(CountingEngine.ran) == 1
    assert comparable_files(output) != expected
    beam_job.extract(str(listing), str(tmp_path / "full"), **options)
    assert comparable_files(output) == comparable_files(tmp_path / "full")
    shard = next(output.glob("train-*.lines"))
    shard.write_bytes(shard.read_bytes()[:-4])
    assert any("the file is truncated" in problem for problem in beam_job.verify(str(output)).problems)


def test_two_formats_in_one_pass(listing: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    both, one = tmp_path / "both", tmp_path / "one"
    beam_job.extract(str(listing), str(both), **{**options, "format": ["tfrecord", "lines"]})
    beam_job.extract(str(listing), str(one), **{**options, "format": ["tfrecord"]})
    assert {path.name: path.read_bytes() for path in both.glob("*.tfrecord")} == {
        path.name: path.read_bytes() for path in one.glob("*.tfrecord")
    }
    receipt = json.loads(next(both.glob("receipts/train-*.json")).read_text())
    assert {Path(name).suffix for name in receipt["files"]} == {".tfrecord", ".lines"}
    assert beam_job.verify(str(both)).problems == ()
    next(both.glob("train-*.lines")).unlink()
    assert any("the file is missing" in problem for problem in beam_job.verify(str(both)).problems)


def test_head_and_report_of_toys(listing: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    beam_job.extract(str(listing), str(tmp_path / "out"), **options)
    head = beam_job.train_head(str(tmp_path / "out"), epochs=2)
    assert head.input == "histogram_bytes"
    serve = tf.saved_model.load(f"{head.head}/saved_model").signatures["serving_default"]
    probabilities = serve(histogram_bytes=tf.constant([b"abc", b"\xff\xfe"]))["probabilities"]
    assert probabilities.shape == (2, 2)
    report = beam_job.report(str(tmp_path / "out"))
    assert "toy " in Path(report.report).read_text()


def test_choices_follow_the_registries(listing: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--engine is one of auto, tensorflow, openvino, counting, found 'counter'"):
        beam_job.extract(str(listing), str(tmp_path / "out"), **{**options, "engine": "counter"})
    with pytest.raises(UsageError, match="--format is one of tfrecord, lines, found 'line'; did you mean 'lines'"):
        beam_job.extract(str(listing), str(tmp_path / "out"), **{**options, "format": ["line"]})


def test_the_modalities_of_other_models_are_named(tmp_path: Path) -> None:
    from tests.support.small_models import save_token_model

    path = save_token_model(tmp_path / "model")
    with pytest.raises(ModelError, match=r"Expected a model of histograms \[B, 256\] or .*images .*found a text"):
        beam_job.inspect_model(str(path))


class TestHistograms(ModalityContract):
    @pytest.fixture
    def modality(self) -> Modality:
        return Histograms()

    @pytest.fixture
    def contents(self) -> Iterator[list[bytes]]:
        yield [b"some text", b"\0\1\2\3"]


class TestJsonLines(ShardFormatContract):
    name = "lines"
