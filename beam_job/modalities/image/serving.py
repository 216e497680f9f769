"""From the bytes of images to a model's input in TensorFlow's operations, for served models.

It repeats in a graph what the job does without TensorFlow: the pixels of a JPEG are equal, EXIF orientation is applied
and transparency is composited on white. It takes JPEG, PNG, BMP, GIF (the first frame) and WebP, without transparency
where the format is not PNG.
"""

from __future__ import annotations

from typing import Any

from beam_job.modalities.image.jpeg import FRACTIONS, JPEG_MAGIC
from beam_job.modalities.image.jpeg_segments import APP1, MARKERS_ALONE, START_OF_SCAN
from beam_job.modalities.image.orientation import (
    COLUMNS_REVERSED,
    EXIF_MARK,
    ORIENTATION_TAG,
    ROWS_REVERSED,
    TRANSPOSED,
    UPRIGHT,
)
from beam_job.modalities.image.png import PNG_SIGNATURE
from beam_job.modalities.image.policy import FAST, DecodePolicy
from beam_job.modalities.image.preprocessing import Preprocessing
from beam_job.modalities.image.resizing import crop_slices
from beam_job.runtime.tensorflow import import_tensorflow

_LONGEST_SEGMENT = 1 << 16
# Zeros behind the end of a file, so that what is read there is no marker.
_PADDING = 16
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
        orientation = _exif_orientation(tf, tf.io.decode_raw(data, tf.uint8))
        return _turned(tf, _decode_jpeg(tf, data, orientation, preprocessing, fast), orientation)

    def png() -> Any:
        return _on_white(tf, tf.io.decode_png(data, channels=4))

    def other() -> Any:
        return tf.io.decode_image(data, channels=3, expand_animations=False)

    is_jpeg = tf.equal(tf.strings.substr(data, 0, len(JPEG_MAGIC)), JPEG_MAGIC)
    is_png = tf.equal(tf.strings.substr(data, 0, len(PNG_SIGNATURE)), PNG_SIGNATURE)
    return tf.ensure_shape(tf.cond(is_jpeg, jpeg, lambda: tf.cond(is_png, png, other)), [None, None, 3])


def _decode_jpeg(tf: Any, data: Any, orientation: Any, preprocessing: Preprocessing, fast: bool) -> Any:
    if not fast:
        return tf.io.decode_jpeg(data, channels=3)
    smallest = tf.constant([preprocessing.size.height, preprocessing.size.width])
    smallest = tf.cond(_is_one_of(tf, orientation, TRANSPOSED), lambda: smallest[::-1], lambda: smallest)
    sides = tf.io.extract_jpeg_shape(data)[:2]
    fits = [tf.reduce_all(-(-sides // fraction) >= smallest) for fraction in FRACTIONS[1:]]
    place = tf.add_n([tf.cast(fit, tf.int32) for fit in fits])
    return tf.switch_case(
        place, [lambda ratio=ratio: tf.io.decode_jpeg(data, channels=3, ratio=ratio) for ratio in FRACTIONS]
    )


def _on_white(tf: Any, pixels: Any) -> Any:
    alpha = tf.cast(pixels[:, :, 3:], tf.float32) / 255.0
    mixed = tf.cast(pixels[:, :, :3], tf.float32) * alpha + 255.0 * (1.0 - alpha)
    return tf.cast(tf.round(mixed), tf.uint8)


def _exif_orientation(tf: Any, octets: Any) -> Any:
    """The orientation in the first EXIF segment of a JPEG, int32; TensorFlow's decoder does not read it.

    Args:
      tf: The module.
      octets: uint8 [N], the bytes of the file.
    """
    mark = tf.constant(list(EXIF_MARK), tf.uint8)
    octets = tf.concat([octets, tf.zeros([_PADDING], tf.uint8)], 0)
    end = tf.size(octets) - _PADDING

    def octet(place: Any) -> Any:
        return tf.cast(octets[place], tf.int32)

    def has_exif(place: Any) -> Any:
        content = octets[place + 4 : place + 4 + len(EXIF_MARK)]
        return tf.logical_and(octet(place + 1) == APP1, tf.reduce_all(content == mark))

    def goes_on(place: Any) -> Any:
        is_marker = octet(place) == 0xFF
        stops = tf.logical_and(is_marker, tf.logical_or(octet(place + 1) == START_OF_SCAN, has_exif(place)))
        return tf.logical_and(place < end, tf.logical_not(stops))

    def next_place(place: Any) -> Any:
        """As in ``jpeg_segments.segments``."""
        marker = octet(place + 1)
        length = tf.maximum(2, octet(place + 2) * 256 + octet(place + 3))
        alone = tf.reduce_any(marker == tf.constant([0, *sorted(MARKERS_ALONE)]))
        step = tf.where(alone, 2, 2 + length)
        return tf.minimum(end, place + tf.where(tf.logical_or(octet(place) != 0xFF, marker == 0xFF), 1, step))

    (place,) = tf.while_loop(goes_on, lambda place: (next_place(place),), (tf.constant(2),))
    found = tf.logical_and(place < end, octet(place + 1) == APP1)
    start = place + 4 + len(EXIF_MARK)
    tiff = tf.cast(octets[start : start + _LONGEST_SEGMENT], tf.int32)
    return tf.cond(found, lambda: _orientation(tf, tiff), lambda: tf.constant(UPRIGHT))


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


def _is_one_of(tf: Any, orientation: Any, values: tuple[int, ...]) -> Any:
    return tf.reduce_any(orientation == tf.constant(values))


def _turned(tf: Any, pixels: Any, orientation: Any) -> Any:
    """``pixels`` turned upright."""

    def when(values: tuple[int, ...], change: Any) -> Any:
        return tf.cond(_is_one_of(tf, orientation, values), lambda: change(pixels), lambda: pixels)

    pixels = when(TRANSPOSED, lambda pixels: tf.transpose(pixels, [1, 0, 2]))
    pixels = when(ROWS_REVERSED, lambda pixels: tf.reverse(pixels, [0]))
    return when(COLUMNS_REVERSED, lambda pixels: tf.reverse(pixels, [1]))


def _resize(tf: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    height, width = preprocessing.size.height, preprocessing.size.width
    if preprocessing.resize == "crop":
        sides = tf.shape(pixels)
        rows, columns = crop_slices(sides[0], sides[1], height, width, tf.minimum, tf.maximum)
        pixels = pixels[rows, columns]
    return tf.image.resize(pixels, (height, width), antialias=preprocessing.resize == "antialias")
