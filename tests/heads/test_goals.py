"""Heads for lists of labels and for numbers, and their SavedModels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import mean_absolute_error, r2_score

import beam_job
from beam_job.cli.main import main
from beam_job.core.errors import InputError, UsageError
from beam_job.heads.goals import ManyClasses, Number, OneClass
from beam_job.heads.regression import evaluate_numbers

pytestmark = pytest.mark.timeout(300)
CLASSES = ("red", "green", "blue")


def extract(root: Path, rows: list[tuple[np.ndarray, Any]], options: dict[str, str]) -> Path:
    """A dataset of images with these labels."""
    (root / "in").mkdir()
    lines = []
    for number, (image, label) in enumerate(rows):
        Image.fromarray(image).save(root / "in" / f"{number}.png")
        lines.append(json.dumps({"uri": f"{number}.png", "label": label}))
    (root / "in/rows.jsonl").write_text("\n".join(lines))
    beam_job.extract(str(root / "in/rows.jsonl"), str(root / "out"), **options)
    return root / "out"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, pixels: dict[str, str]) -> Path:
    """240 images, with the names of the channels that are bright in each; one without a list."""
    random = np.random.default_rng(0)
    rows: list[tuple[np.ndarray, Any]] = []
    for number in range(240):
        bright = random.random(3) < 0.5
        image = np.clip(60 + 130 * bright + random.normal(0, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        rows.append((image, [name for name, is_bright in zip(CLASSES, bright, strict=True) if is_bright]))
        if number == 7:
            rows.append((image, None))
    return extract(tmp_path_factory.mktemp("colours"), rows, pixels)


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory, pixels: dict[str, str]) -> Path:
    """240 gray images, each with a number that grows with its level; one without a number."""
    random = np.random.default_rng(0)
    rows: list[tuple[np.ndarray, Any]] = []
    for number in range(240):
        level = random.uniform(40, 200)
        image = np.clip(level + random.normal(0, 5, (8, 8, 3)), 0, 255).astype(np.uint8)
        rows.append((image, None if number == 7 else 1000 + 3 * level))
    return extract(tmp_path_factory.mktemp("levels"), rows, pixels)


def test_a_head_for_lists_of_labels(colours: Path) -> None:
    result = beam_job.train_head(str(colours), epochs=40)
    assert result.classes == sorted(CLASSES)
    assert result.unlabelled == 1
    for evaluation in result.evaluations.values():
        assert evaluation.accuracy > 0.9  # type: ignore[union-attr]
    serve = tf.saved_model.load(f"{result.head}/saved_model").signatures["serving_default"]
    image = np.full((8, 8, 3), (190, 60, 190), np.uint8)
    answer = serve(image_bytes=tf.constant([tf.io.encode_png(image).numpy()]))
    assert answer["classes"][0].numpy().tolist() == [b"blue", b"green", b"red"]
    assert (answer["probabilities"][0].numpy() > 0.5).tolist() == [True, False, True]
    assert result.served is not None
    assert result.served.largest_difference is not None
    assert result.served.largest_difference < 1e-4
    with pytest.raises(UsageError, match="has them as labels"):
        beam_job.train_head(str(colours), multi_label="|")


def test_a_head_for_numbers(levels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-head", str(levels), "--epochs=60"]) == 0
    shown = capsys.readouterr()
    assert "head: mean absolute error" in shown.out
    assert "R2 0.9" in shown.out
    assert "mean absolute error" in shown.err
    metrics = json.loads(Path(f"{levels}-head", "metrics.json").read_text())
    assert metrics["label_type"] == "target"
    assert metrics["classes"] == []
    assert set(metrics["evaluations"]) == {"linear probe", "head", "nearest neighbours"}
    for name in ("linear probe", "head"):
        found = metrics["evaluations"][name]
        assert found["r2"] > 0.95
        assert found["mean_absolute_error"] < 30  # of numbers from 1,120 to 1,600
    # Gray images of all levels look alike by cosine: here the neighbours are of no help, and a head is.
    assert metrics["evaluations"]["nearest neighbours"]["r2"] < 0.9
    for name in ("epochs", "targets"):
        with Image.open(f"{levels}-head/{name}.png") as plot:
            assert min(plot.size) > 200
    serve = tf.saved_model.load(f"{levels}-head/saved_model").signatures["serving_default"]
    images = [tf.io.encode_png(np.full((8, 8, 3), level, np.uint8)).numpy() for level in (60, 180)]
    answer = serve(image_bytes=tf.constant(images))
    assert set(answer) == {"target"}
    np.testing.assert_allclose(answer["target"].numpy(), [1180, 1540], rtol=0.05)
    head = tf.keras.models.load_model(f"{levels}-head/head.keras")
    assert head.output_shape == (None, 1)
    assert metrics["served"]["largest_difference"] < 0.1
    assert beam_job.train_head(str(levels), epochs=1).accuracy is None


@pytest.mark.parametrize("which", ["colours", "levels"])
def test_the_report_of_lists_and_numbers(which: str, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(which)
    beam_job.train_head(str(dataset), epochs=2)
    page = Path(beam_job.report(str(dataset)).report).read_text()
    assert ("mean absolute error" in page) == (which == "levels")
    assert ("blue, green" in page) == (which == "colours")
    assert "doubtful labels" in page


def test_a_head_needs_different_numbers(tmp_path: Path, pixels: dict[str, str]) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    output = extract(tmp_path, [(image + number, 0.5) for number in range(40)], pixels)
    with pytest.raises(InputError, match="Expected different numbers to train on"):
        beam_job.train_head(str(output))


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_figures_of_numbers_are_those_of_scikit_learn(examples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.normal(size=examples).astype(np.float32)
    predicted = truth + random.normal(size=examples).astype(np.float32)
    found = evaluate_numbers(iter([predicted[:1, np.newaxis], predicted[1:, np.newaxis]]), truth)
    assert found.examples == examples
    assert found.mean_absolute_error == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-4)
    assert found.r2 == pytest.approx(r2_score(truth, predicted), rel=1e-4, abs=1e-5)


def test_the_weights_of_classes() -> None:
    one = OneClass(["a", "b"], {}).balanced(np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(one, [2 / 3, 2 / 3, 2 / 3, 2], rtol=1e-6)
    sets = np.array([[True, False], [True, False], [True, True], [False, False]])
    many = ManyClasses(["a", "b"], {}).balanced(sets)
    assert many.mean() == pytest.approx(1)
    assert many[2] > many[0]
    assert Number({"train": np.array([1, 2], np.float32)}).balanced(np.array([1.0])) is None
