"""Heads trained on real features, and their SavedModels, which must agree with them on stored features."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import beam_job
from beam_job.cli.main import main
from beam_job.core.errors import InputError, OutputError, UsageError
from beam_job.core.options import HeadOptions
from beam_job.dataset.reading import Dataset
from beam_job.heads.evaluation import evaluate
from beam_job.heads.goals import ManyClasses, OneClass
from beam_job.heads.training import HeadResult, spread, train_head
from tests.support.bucket import Bucket

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> HeadResult:
    return beam_job.train_head(str(dataset), head=str(tmp_path_factory.mktemp("heads") / "head"), epochs=30)


@pytest.fixture(scope="module")
def serve(trained: HeadResult) -> Any:
    """The serving signature of the SavedModel."""
    return tf.saved_model.load(f"{trained.head}/saved_model").signatures["serving_default"]


@pytest.fixture
def small_dataset(few: Path, tmp_path: Path, small_model: dict[str, str]) -> Path:
    """A dataset of 40 images with feature vectors of length 3."""
    beam_job.extract(str(few), str(tmp_path / "small_dataset"), **small_model)
    return tmp_path / "small_dataset"


def test_a_head_classifies_held_out_examples(trained: HeadResult, dataset: Path) -> None:
    splits = Dataset.open(str(dataset)).splits
    assert trained.examples == {name: split["records"] for name, split in splits.items()}
    assert set(trained.evaluations) == {"linear probe", "head", "nearest neighbours"}
    for evaluation in trained.evaluations.values():
        assert evaluation.accuracy > 0.95
    losses = [epoch.validation_loss for epoch in trained.epochs if epoch.model == "head"]
    assert min(losses) < losses[0]


def test_the_files_of_a_head(trained: HeadResult) -> None:
    metrics = json.loads(Path(trained.head, "metrics.json").read_text())
    assert metrics["evaluations"]["head"]["accuracy"] == trained.accuracy
    assert len(metrics["epochs"]) == len(trained.epochs)
    for name in ("epochs", "calibration", "confusion"):
        with Image.open(Path(trained.head, f"{name}.png")) as plot:
            assert min(plot.size) > 200
            assert len(set(plot.convert("L").tobytes())) > 10


def special_images(photograph: Image.Image) -> dict[str, bytes]:
    """Images that must be rotated, composited or converted before they reach a model."""

    def saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **settings)
        return file.getvalue()

    small, images = photograph.resize((300, 200)), {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x010F], exif[0x0112] = "a camera", orientation
        images[f"rotated-{orientation}.jpg"] = saved(small, "JPEG", exif=exif)
    alpha = Image.linear_gradient("L").resize(small.size)
    images["transparent.png"] = saved(Image.merge("RGBA", (*small.split(), alpha)), "PNG")
    images["palette.png"] = saved(small.quantize(64), "PNG")
    images["gray.jpg"] = saved(small.convert("L"), "JPEG")
    images["plain.bmp"] = saved(small, "BMP")
    images["plain.webp"] = saved(small, "WEBP", lossless=True)
    return images


def test_the_saved_model_agrees_with_the_head_on_stored_features(
    trained: HeadResult, serve: Any, samples: Path, dataset: Path, tmp_path: Path
) -> None:
    head = tf.keras.models.load_model(f"{trained.head}/head.keras")
    table = Dataset.open(str(dataset)).table("test")
    chosen = slice(0, 40)
    expected = head.predict(table.features[chosen], verbose=0)
    served = serve(image_bytes=tf.constant([(samples / example_id).read_bytes() for example_id in table.ids[chosen]]))
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-4)
    assert [name.decode() for name in served["classes"][0].numpy()] == Dataset.open(str(dataset)).labels


def test_the_saved_model_decodes_every_format_like_the_job(
    trained: HeadResult, serve: Any, samples: Path, tmp_path: Path
) -> None:
    head = tf.keras.models.load_model(f"{trained.head}/head.keras")
    with Image.open(next(samples.glob("cat/*.jpg"))) as photograph:
        images = special_images(photograph.convert("RGB"))
    for name, data in images.items():
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_bytes(data)
    beam_job.extract(f"{tmp_path}/images/*", str(tmp_path / "features"))
    table = Dataset.open(str(tmp_path / "features")).table("train")
    assert len(table.ids) == len(images)
    logits = tf.keras.Model(head.inputs, head.layers[-2].output)
    weights, bias = head.layers[-1].get_weights()
    expected = logits.predict(table.features, verbose=0) @ weights + bias
    served = serve(image_bytes=tf.constant([images[Path(example_id).name] for example_id in table.ids]))
    found = np.log(np.maximum(served["probabilities"], 1e-30))
    # Probabilities give the logits of an image up to a constant.
    difference = (found - found.max(1, keepdims=True)) - (expected - expected.max(1, keepdims=True))
    assert np.abs(difference[found > -40]).max() < 0.05
    by_name = {
        Path(example_id).name: row for example_id, row in zip(table.ids, served["probabilities"].numpy(), strict=True)
    }
    assert not np.allclose(by_name["rotated-1.jpg"], by_name["rotated-6.jpg"], atol=1e-7)


def test_the_same_seed_gives_the_same_head(small_dataset: Path, tmp_path: Path) -> None:
    heads = [
        beam_job.train_head(str(small_dataset), head=str(tmp_path / f"head-{number}"), epochs=3, seed=seed)
        for number, seed in enumerate((1, 1, 2))
    ]
    first, second, other = ([epoch.loss for epoch in head.epochs] for head in heads)
    assert first == second != other


def test_missing_splits_are_taken_from_the_training_split(small_dataset: Path, tmp_path: Path) -> None:
    result = beam_job.train_head(str(small_dataset), epochs=1)
    assert sum(result.examples.values()) == 40
    assert set(result.examples) == {"train", "validation", "test"}
    assert result.head == f"{small_dataset}-head"
    assert Path(result.head, "head.keras").exists()


def test_several_labels_per_image(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    rows = [f"{path},{path.parent.name}|{'even' if index % 2 else 'odd'}" for index, path in enumerate(few.glob("*/*"))]
    (tmp_path / "images.csv").write_text("\n".join(["uri,label", *rows, ""]))
    beam_job.extract(str(tmp_path / "images.csv"), str(tmp_path / "out"), **small_model)
    result = beam_job.train_head(str(tmp_path / "out"), multi_label="|", epochs=2, hidden=4)
    assert result.classes == ["cat", "coffee", "coins", "even", "odd", "rocket"]
    assert result.evaluations["head"].confusion is None
    serve = tf.saved_model.load(f"{result.head}/saved_model").signatures["serving_default"]
    data = next(few.glob("cat/*.jpg")).read_bytes()
    probabilities = serve(image_bytes=tf.constant([data]))["probabilities"].numpy()
    assert probabilities.shape == (1, 6)
    assert not np.isclose(probabilities.sum(), 1.0, atol=1e-3)


def test_a_model_that_is_called_with_one_example_is_so_called_in_the_served_model(few: Path, tmp_path: Path) -> None:
    """Its features depend on the rest of the batch, and the served model gets several images at once."""
    module, images = tf.Module(), tf.TensorSpec([None, 32, 32, 3], tf.float32, "images")

    @tf.function(input_signature=[images])
    def serve(images: Any) -> Any:
        return {"feature": tf.reduce_mean(images, [1, 2]) / tf.reduce_mean(images)}

    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    options = {"model": str(tmp_path / "model"), "input_range": "0,1"}
    assert "depend on its neighbours" in beam_job.extract(str(few), str(tmp_path / "out"), **options).notes[0]
    served = beam_job.train_head(str(tmp_path / "out"), epochs=2, hidden=4)
    call = tf.saved_model.load(f"{served.head}/saved_model").signatures["serving_default"]
    contents = [path.read_bytes() for path in sorted(few.glob("*/*"))[::5]]
    together = call(image_bytes=tf.constant(contents))["probabilities"].numpy()
    alone = [call(image_bytes=tf.constant([content]))["probabilities"].numpy()[0] for content in contents]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_from_bucket_to_bucket(few: Path, bucket: Bucket, small_model: dict[str, str]) -> None:
    out = bucket.url("features")
    beam_job.extract(str(few), out, **small_model)
    result = beam_job.train_head(out, epochs=1)
    assert result.head == f"{out}-head"
    names = bucket.list("features-head/")
    assert {"features-head/head.keras", "features-head/metrics.json", "features-head/saved_model/saved_model.pb"} <= {
        *names
    }
    first = bucket.read("features-head/head.keras")
    beam_job.train_head(out, epochs=1, seed=1)
    assert bucket.list("features-head/") == names
    assert bucket.read("features-head/head.keras") != first
    assert beam_job.report(out).report == f"{out}-report.html"
    assert b"nearest neighbours" in bucket.read("features-report.html")


def test_rare_classes_have_the_weight_of_frequent_classes() -> None:
    truth = np.eye(2, dtype=bool)[[0] * 9 + [1]]
    weights = ManyClasses(["frequent", "rare"], {}).balanced(truth)
    assert weights[:9].sum() == pytest.approx(weights[9:].sum())
    assert weights.mean() == pytest.approx(1)


def test_a_dataset_that_is_too_small_is_refused(
    few: Path, small_dataset: Path, tmp_path: Path, small_model: dict[str, str]
) -> None:
    with pytest.raises(InputError, match="no complete dataset"):
        beam_job.train_head(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no feature 'top'"):
        beam_job.train_head(str(small_dataset), feature="top")
    shutil.copytree(few / "cat", tmp_path / "one" / "cat")
    beam_job.extract(str(tmp_path / "one"), str(tmp_path / "one-class"), **small_model)
    with pytest.raises(InputError, match="at least two classes"):
        beam_job.train_head(str(tmp_path / "one-class"))
    beam_job.extract(f"{few}/*/*.jpg", str(tmp_path / "unlabelled"), **small_model)
    with pytest.raises(InputError, match=r"labelled examples in the split 'train' .* found none"):
        beam_job.train_head(str(tmp_path / "unlabelled"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="found something else"):
        beam_job.train_head(str(small_dataset), head=str(tmp_path / "precious"))
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_a_missing_matplotlib_is_reported_before_the_training(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # makes the import fail
    epochs: list[object] = []
    with pytest.raises(UsageError, match=r"pip install 'beam_job\[heads\]'"):
        train_head(str(small_dataset), HeadOptions(), epochs.append)
    assert not epochs


def test_the_train_head_command(small_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-head", str(small_dataset), "--epochs=2", "--hidden=0"]) == 0
    output = capsys.readouterr()
    assert "head: accuracy" in output.out
    assert "nearest neighbours: accuracy" in output.out
    assert "epoch   2  loss" in output.err
    assert main(["train-head", str(small_dataset), "--epochs=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"]["train"] > 20
    assert main(["train-head", str(small_dataset), "--epoch=1"]) == 2
    assert "There is no option '--epoch=1'" in capsys.readouterr().err


def pixel_dataset(root: Path, splits: dict[str, list[tuple[np.ndarray, str]]], pixels: dict[str, str]) -> Path:
    """A dataset whose features are the pixels of images of 8x8, by split."""
    rows = ["uri,label,split"]
    (root / "in").mkdir()
    for split, examples in splits.items():
        for number, (image, label) in enumerate(examples):
            Image.fromarray(image).save(root / "in" / f"{split}-{number}.png")
            rows.append(f"{split}-{number}.png,{label},{split}")
    (root / "in/images.csv").write_text("\n".join(rows))
    beam_job.extract(str(root / "in/images.csv"), str(root / "out"), **pixels)
    return root / "out"


def gray(level: int, noise: np.random.Generator) -> np.ndarray:
    return np.clip(level + noise.normal(0, 20, (8, 8)), 0, 255).astype(np.uint8)


def two_classes(count: int, noise: np.random.Generator, labels: tuple[str, str] = ("a", "b")) -> list[Any]:
    return [(gray(60 + 130 * (number % 2), noise), labels[number % 2]) for number in range(count)]


def test_only_classes_that_occur_cost_anything(tmp_path: Path, pixels: dict[str, str]) -> None:
    """The vocabulary of the labels 12 and 30000 has 30,001 names; the head has two."""
    out = pixel_dataset(tmp_path, {"train": two_classes(40, np.random.default_rng(0), ("12", "30000"))}, pixels)
    assert len(Dataset.open(str(out)).labels) == 30_001
    tracemalloc.start()
    result = beam_job.train_head(str(out), epochs=20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert result.classes == ["12", "30000"]
    assert result.accuracy == 1
    assert Path(result.head, "metrics.json").stat().st_size < 50_000
    assert set(result.evaluations["head"].classes) == {"12", "30000"}
    serve = tf.saved_model.load(f"{result.head}/saved_model").signatures["serving_default"]
    served = serve(image_bytes=tf.constant([(tmp_path / "in/train-1.png").read_bytes()]))
    assert served["classes"][0].numpy().tolist() == [b"12", b"30000"]
    assert served["probabilities"].numpy()[0].argmax() == 1


def test_many_classes_take_memory_for_features_and_classes_only() -> None:
    """Ten thousand classes, whose square would be 800 MB of counts and whose truth 100 MB."""
    random, classes, examples = np.random.default_rng(0), 10_000, 10_000
    truth = random.permutation(classes)[:examples]
    names = [str(number) for number in range(classes)]

    def blocks() -> Any:
        for start in range(0, examples, 500):
            guess = np.zeros((500, classes), np.float32)
            guess[np.arange(500), truth[start : start + 500]] = 0.9
            yield guess

    tracemalloc.start()
    found = evaluate(blocks(), truth, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.accuracy == 1
    assert len(found.confusion or ()) == examples
    assert peak < 80e6
    assert len(OneClass(names, {}).balanced(truth)) == examples


def test_a_feature_that_is_constant_in_training_does_not_outweigh_the_others(
    tmp_path: Path, pixels: dict[str, str]
) -> None:
    """A corner is black in training; in some of the other images a speck of dust is in it."""
    noise = np.random.default_rng(0)
    splits = {name: two_classes(count, noise) for name, count in (("train", 80), ("validation", 40), ("test", 40))}
    for name, examples in splits.items():
        for number, (image, _) in enumerate(examples):
            image[:2, :2] = 0
            if name != "train" and number % 4 == 0:
                image[0, 0] = 200
    result = beam_job.train_head(str(pixel_dataset(tmp_path, splits, pixels)), epochs=30)
    for name in ("linear probe", "head"):
        assert min(epoch.validation_loss for epoch in result.epochs if epoch.model == name) < 0.3
        assert result.evaluations[name].accuracy > 0.9


@settings(deadline=None)
@given(st.integers(2, 20), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_no_normalised_feature_is_larger_than_its_share_allows(examples: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = (random.normal(size=(examples, width)) * 10.0 ** random.integers(-6, 3, width)).astype(np.float32)
    features[:, random.random(width) < 0.3] = 1
    variance = spread(features)
    assert (variance >= features.var(0)).all()
    assert (variance >= 0.099 * features.var(0).mean()).all()
    kept = features.var(0) > 0.101 * features.var(0).mean()
    np.testing.assert_array_equal(variance[kept], features.var(0)[kept])


@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation"])
def test_a_split_by_another_of_its_names_is_used(tmp_path: Path, pixels: dict[str, str], name: str) -> None:
    noise = np.random.default_rng(0)
    splits = {split: two_classes(count, noise) for split, count in (("training", 20), (name, 10), ("testing", 8))}
    result = beam_job.train_head(str(pixel_dataset(tmp_path, splits, pixels)), epochs=1)
    assert result.examples == {"train": 20, "validation": 10, "test": 8}
    assert result.unused == {}


def test_a_split_that_is_not_used_is_told(
    tmp_path: Path, pixels: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    out = pixel_dataset(tmp_path, {name: two_classes(20, noise) for name in ("train", "holdout")}, pixels)
    assert main(["train-head", str(out), "--epochs=1"]) == 0
    assert "note: the 20 examples of the split holdout were not used" in capsys.readouterr().out
    assert json.loads((tmp_path / "out-head/metrics.json").read_text())["unused"] == {"holdout": 20}


def test_a_head_deletes_nothing_but_an_earlier_head(small_dataset: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "head", tmp_path / "elsewhere"
    for folder in (target, elsewhere):
        folder.mkdir()
    (target / "metrics.json").write_text('{"loss": 1}')
    with pytest.raises(OutputError, match="found something else"):
        train_head(str(small_dataset), HeadOptions(head=str(target), epochs=1))
    (target / "metrics.json").unlink()
    train_head(str(small_dataset), HeadOptions(head=str(target), epochs=1))
    own = {"notes.txt", "data/thesis.tex", "saved_model/assets/deeper/x"}
    for name in own:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("mine")
    (elsewhere / "vocabulary.txt").write_text("mine")
    shutil.rmtree(target / "saved_model/assets")
    (target / "saved_model/assets").symlink_to(elsewhere, target_is_directory=True)
    (target / "linked").symlink_to(elsewhere, target_is_directory=True)
    train_head(str(small_dataset), HeadOptions(head=str(target), epochs=1))
    assert (target / "notes.txt").read_text() == (target / "data/thesis.tex").read_text() == "mine"
    assert (elsewhere / "vocabulary.txt").read_text() == "mine"


def test_a_damaged_shard_is_one_sentence(small_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next(small_dataset.glob("*.tfrecord"))
    data = bytearray(shard.read_bytes())
    for damaged in (bytes(data[:-7]), b"", bytes(data[:50]) + b"\xff" + bytes(data[51:])):
        shard.write_bytes(damaged)
        for command in ("train-head", "report"):
            code = main([command, str(small_dataset)])
            words = capsys.readouterr().err
            assert code == 2
            assert f"The shard {shard} cannot be read (" in words
            assert "Traceback" not in words


def test_the_served_model_is_compared_with_the_head_when_it_is_trained(
    tmp_path: Path, pixels: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    out = pixel_dataset(tmp_path, {"train": two_classes(20, noise)}, pixels)
    result = beam_job.train_head(str(out), epochs=1)
    assert result.served is not None
    assert (result.served.examples, result.served.refused) == (8, 0)
    assert (result.served.largest_difference or 0) < 1e-5
    for number in range(3):
        path = tmp_path / "in" / f"train-{number}.png"
        with Image.open(path) as image:
            image.save(path, "TIFF")
    assert main(["train-head", str(out), "--epochs=1"]) == 0
    printed = capsys.readouterr().out
    assert "it cannot decode 3 others, whose format TensorFlow does not read" in printed
    served = json.loads((tmp_path / "out-head/metrics.json").read_text())["served"]
    assert (served["examples"], served["refused"]) == (5, 3)
    shutil.rmtree(tmp_path / "in")
    assert main(["train-head", str(out), "--epochs=1"]) == 0
    assert "was not compared with the head: the examples can no longer be read" in capsys.readouterr().out
