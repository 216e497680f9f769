from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.values import ImageSize, ValueRange
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.policy import DecodePolicy
from beam_job.modalities.image.preprocessing import KERAS_CONVENTIONS, RAW, UNIT, Convention

SIZE = ImageSize(224, 224)


def test_the_input_of_hub_models_matches_the_tutorial_bit_for_bit(few: Path) -> None:
    for path in few.glob("*/*.jpg"):
        data = path.read_bytes()
        tutorial = tf.image.resize(tf.io.decode_jpeg(data, channels=3), (224, 224)) / 255.0
        found = UNIT.scale(decode_image(data, SIZE, DecodePolicy()))
        np.testing.assert_array_equal(found, tutorial)


@pytest.mark.parametrize("mode", KERAS_CONVENTIONS)
def test_conventions_match_keras(mode: str) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (9, 7, 3)).astype(np.float32)
    expected = tf.keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
    found = KERAS_CONVENTIONS[mode].scale(pixels.copy())
    np.testing.assert_array_equal(found, expected)


def test_raw_pixels_are_unchanged() -> None:
    pixels = np.full((2, 2, 3), 99.5, np.float32)
    np.testing.assert_array_equal(RAW.scale(pixels.copy()), pixels)


def test_any_range_maps_black_and_white_to_its_ends() -> None:
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.float32)
    found = Convention(ValueRange(-3, 5)).scale(ends)
    np.testing.assert_allclose(found, [[[-3, -3, -3], [5, 5, 5]]], rtol=1e-6)
