import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_job.modalities.image.resizing import resize_antialias, resize_bilinear, resize_crop

sides = st.integers(1, 700)


def _with_fourth_channel(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate((pixels, np.zeros_like(pixels[:, :, :1])), axis=2)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.integers(1, 331), st.integers(1, 331), st.sampled_from([np.uint8, np.float32]), st.randoms())
def test_pixels_match_tf_image_resize_bit_for_bit(
    height: int, width: int, to_height: int, to_width: int, dtype: type, random: object
) -> None:
    generator = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    pixels = generator.integers(0, 256, (height, width, 3)).astype(dtype)
    expected = tf.image.resize(pixels, (to_height, to_width)).numpy()
    found = resize_bilinear(_with_fourth_channel(pixels), to_height, to_width)
    np.testing.assert_array_equal(found, expected)


def test_the_result_is_not_rounded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 4), np.uint8)
    resized = resize_bilinear(pixels, 64, 64)
    assert resized.dtype == np.float32
    assert (resized != np.round(resized)).mean() > 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 4), 200, np.uint8)
    assert np.array_equal(resize_bilinear(pixels, 8, 8), np.full((8, 8, 3), 200, np.float32))


@settings(deadline=None, max_examples=40)
@given(sides, sides, st.integers(1, 331), st.integers(1, 331), st.randoms())
def test_antialiased_pixels_match_tf_image_resize(
    height: int, width: int, to_height: int, to_width: int, random: object
) -> None:
    pixels = np.random.default_rng(random.getrandbits(32)).integers(0, 256, (height, width, 3), np.uint8)  # type: ignore[attr-defined]
    expected = tf.image.resize(pixels, (to_height, to_width), antialias=True).numpy()
    found = resize_antialias(_with_fourth_channel(pixels), to_height, to_width)
    np.testing.assert_allclose(found, expected, atol=0.02)


@settings(deadline=None, max_examples=40)
@given(sides, sides, st.integers(1, 331), st.integers(1, 331), st.randoms())
def test_cropped_pixels_match_keras_smart_resize(
    height: int, width: int, to_height: int, to_width: int, random: object
) -> None:
    pixels = np.random.default_rng(random.getrandbits(32)).integers(0, 256, (height, width, 3), np.uint8)  # type: ignore[attr-defined]
    expected = keras.preprocessing.image.smart_resize(pixels.astype(np.float32), (to_height, to_width))
    found = resize_crop(_with_fourth_channel(pixels), to_height, to_width)
    np.testing.assert_array_equal(found, expected)
