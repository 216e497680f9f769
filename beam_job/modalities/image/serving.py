"""From the bytes of images to a model's input in TensorFlow's operations, for served models.

It repeats in a graph what the job does without TensorFlow: the pixels of a JPEG are equal, EXIF orientation is applied
and transparency is composited on white. It takes JPEG, PNG, BMP, GIF (the first frame) and WebP without transparency.
"""

from __future__ import annotations

from typing import Any

from beam_job.modalities.image.decoding import FAST, FRACTIONS, DecodePolicy
from beam_job.modalities.image.orientation import (
    COLUMNS_REVERSED,
    EXIF_MARK,
    ORIENTATION_TAG,
    ROWS_REVERSED,
    TRANSPOSED,
    UPRIGHT,
)
from beam_job.modalities.image.preprocessing import Preprocessing
from beam_job.modalities.image.resizing import crop_slices
from beam_job.runtime.tensorflow import import_tensorflow

_EXIF_SEARCH_BYTES = 1 << 16
_MAX_EXIF_ENTRIES = 512


def prepare_images(contents: Any, preprocessing: Preprocessing, policy: DecodePolicy) -> Any:
    """The model's input for the bytes of images: a tensor of strings [B] to float32 [B, H, W, 3]."""
    tf = import_tensorflow()

    def prepare(data: Any) -> Any:
        pixels = _decode(tf, data, preprocessing, policy.name == FAST)
        return preprocessing.convention.scale(_resize(tf, pixels, preprocessing))

    shape = (preprocessing.size.height, preprocessing.size.width, 3)
    return tf.map_fn(prepare, contents, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def _decode(tf: Any, data: Any, preprocessing: Preprocessing, fast: bool) -> Any:
    """Pixels of any size, uint8 [H, W, 3]; branches on the first bytes, as the job does."""

    def jpeg() -> Any:
        return _oriented(tf, data, _decode_jpeg(tf, data, preprocessing, fast))

    def png() -> Any:
        return _on_white(tf, tf.io.decode_png(data, channels=4))

    def other() -> Any:
        return tf.io.decode_image(data, channels=3, expand_animations=False)

    is_jpeg = tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff")
    is_png = tf.equal(tf.strings.substr(data, 0, 4), b"\x89PNG")
    return tf.ensure_shape(tf.cond(is_jpeg, jpeg, lambda: tf.cond(is_png, png, other)), [None, None, 3])


def _decode_jpeg(tf: Any, data: Any, preprocessing: Preprocessing, fast: bool) -> Any:
    if not fast:
        return tf.io.decode_jpeg(data, channels=3)
    sides = tf.io.extract_jpeg_shape(data)[:2]
    minimum = tf.constant([preprocessing.size.height, preprocessing.size.width])
    fits = [tf.reduce_all(-(-sides // fraction) >= minimum) for fraction in FRACTIONS[1:]]
    place = tf.add_n([tf.cast(fit, tf.int32) for fit in fits])
    return tf.switch_case(
        place, [lambda ratio=ratio: tf.io.decode_jpeg(data, channels=3, ratio=ratio) for ratio in FRACTIONS]
    )


def _on_white(tf: Any, pixels: Any) -> Any:
    alpha = tf.cast(pixels[:, :, 3:], tf.float32) / 255.0
    mixed = tf.cast(pixels[:, :, :3], tf.float32) * alpha + 255.0 * (1.0 - alpha)
    return tf.cast(tf.round(mixed), tf.uint8)


def _oriented(tf: Any, data: Any, pixels: Any) -> Any:
    """``pixels`` turned upright by the EXIF data, which TensorFlow does not read."""
    start = tf.strings.substr(data, 0, _EXIF_SEARCH_BYTES)
    octets = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int32)
    count = tf.size(octets) - len(EXIF_MARK) + 1
    windows = tf.stack([octets[place : place + count] for place in range(len(EXIF_MARK))], axis=1)
    found = tf.where(tf.reduce_all(windows == list(EXIF_MARK), axis=1))
    return tf.cond(
        tf.size(found) > 0,
        lambda: _turned(tf, pixels, _orientation(tf, octets[tf.cast(found[0, 0], tf.int32) + len(EXIF_MARK) :])),
        lambda: pixels,
    )


def _orientation(tf: Any, tiff: Any) -> Any:
    """The orientation in the first directory of a TIFF header, int32; 1, upright, without one."""
    padded = tf.concat([tiff, tf.zeros([16], tf.int32)], 0)
    little = tf.equal(padded[0], ord("I"))

    def number(place: Any, octets: int) -> Any:
        place = tf.clip_by_value(place, 0, tf.size(padded) - octets)
        digits = padded[place : place + octets]
        digits = tf.cond(little, lambda: digits, lambda: tf.reverse(digits, [0]))
        return tf.reduce_sum(digits * tf.constant([1 << 8 * power for power in range(octets)]))

    first = number(4, 4)
    entries = tf.minimum(number(first, 2), _MAX_EXIF_ENTRIES)
    places = first + 2 + 12 * tf.range(entries)
    tags = tf.map_fn(lambda place: number(place, 2), places)
    matches = tf.where(tf.equal(tags, ORIENTATION_TAG))
    return tf.cond(
        tf.size(matches) > 0, lambda: number(tf.gather(places, matches[0, 0]) + 8, 2), lambda: tf.constant(UPRIGHT)
    )


def _turned(tf: Any, pixels: Any, orientation: Any) -> Any:
    def is_one_of(values: tuple[int, ...]) -> Any:
        return tf.reduce_any([tf.equal(orientation, value) for value in values])

    pixels = tf.cond(is_one_of(TRANSPOSED), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(is_one_of(ROWS_REVERSED), lambda: tf.reverse(pixels, [0]), lambda: pixels)
    return tf.cond(is_one_of(COLUMNS_REVERSED), lambda: tf.reverse(pixels, [1]), lambda: pixels)


def _resize(tf: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    height, width = preprocessing.size.height, preprocessing.size.width
    if preprocessing.resize == "crop":
        sides = tf.shape(pixels)
        rows, columns = crop_slices(sides[0], sides[1], height, width, tf.minimum, tf.maximum)
        pixels = pixels[rows, columns]
    return tf.image.resize(pixels, (height, width), antialias=preprocessing.resize == "antialias")
