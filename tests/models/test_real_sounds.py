"""A model of sounds that others trained and published, as its package carries it, against a direct call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import beam_job
from beam_job.core.options import ModelOptions
from beam_job.models.sources.builtin import BuiltinModel
from beam_job.runtime.wheels import package_directory
from tests.support.datasets import records_of
from tests.support.required import skip_or_fail
from tests.support.sounds import decoded, encode, tone
from tests.support.zoo.sounds import windows

RATE, WINDOW = 22_050, 43_844


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic instruments, and noise in other formats."""
    folder = tmp_path_factory.mktemp("sounds") / "in"
    beam_job.samples(str(folder), modality="audio", examples_per_class=4)
    for number, (kind, rate, channels) in enumerate((("WAV", 44_100, 2), ("MP3", 22_050, 1), ("OGG", 48_000, 1))):
        (folder / "train/hum" / f"x{number}.{kind.lower()}").write_bytes(
            encode(tone(5, number, rate, channels), rate, kind)
        )
    return folder


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_basic_pitch(sounds: Path, tmp_path: Path, engine: str) -> None:
    """basic-pitch 0.4.0 (Apache-2.0): notes in music, from windows [B, 43844, 1] at 22,050 Hz."""
    package = package_directory("basic_pitch")
    if package is None:
        skip_or_fail("needs the package basic-pitch, see requirements-models.txt")
    path = str(package / "saved_models/icassp_2022/nmp")
    hop = WINDOW / 2 / RATE
    options = {"model": path, "sample_rate": RATE, "layer": "contour:avg", "audio_hop": hop, "engine": engine}
    beam_job.extract(str(sounds), str(tmp_path / "out"), **options)  # type: ignore[arg-type]
    found = records_of(tmp_path / "out")
    assert len(found) == 35
    serve = tf.saved_model.load(path).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    for example_id, record in found.items():
        (content,) = (path.read_bytes() for path in sounds.rglob(example_id.rpartition("/")[2]))
        cut = windows(decoded(content, RATE), WINDOW, WINDOW // 2)[:, :, np.newaxis]
        expected = serve(**{name: tf.constant(cut)})["contour"].numpy().mean((0, 1))
        difference = np.linalg.norm(record["feature"] - expected) / np.linalg.norm(expected)
        assert difference < 1e-5, example_id


def test_log_mel(sounds: Path, tmp_path: Path) -> None:
    beam_job.extract(str(sounds), str(tmp_path / "out"), modality="audio")
    found = records_of(tmp_path / "out")
    model = tf.saved_model.load(BuiltinModel.fetch(ModelOptions(model="log-mel")).path)
    for example_id, record in found.items():
        (content,) = (path.read_bytes() for path in sounds.rglob(example_id.rpartition("/")[2]))
        expected = model(tf.constant(decoded(content)[np.newaxis]))[0].numpy().mean(0)
        np.testing.assert_allclose(record["feature"], expected, rtol=1e-5, atol=1e-5)
