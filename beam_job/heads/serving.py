"""One SavedModel from a picture's bytes to class probabilities: decoding, model and head in one graph.

What the job does without TensorFlow is said here in TensorFlow's own operations: the pixels of a JPEG are the same to
the last bit, with EXIF orientation applied and transparency composited on white.
"""

from __future__ import annotations

from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import ExtractOptions
from beam_job.dataset.reading import feature_field
from beam_job.modalities.image.preprocessing import Preprocessing
from beam_job.models.spec import FrozenModel, ModelSpec, describe_model, frozen_model
from beam_job.runtime.tensorflow import import_tensorflow

# TensorFlow Serving takes base64 in JSON for inputs whose names end so.
INPUT = "image_bytes"
_EXIF = b"Exif\0\0"
_EXIF_SEARCH_BYTES = 1 << 16
_ORIENTATION = 0x0112  # Exif 2.3, section 4.6.4
_FRACTIONS = (1, 2, 4, 8)  # of tf.io.decode_jpeg


def save_image_classifier(
    path: str, run: dict[str, Any], head: Any, classes: list[str], feature: str | None = None
) -> None:
    """Writes the SavedModel: ``image_bytes``, string [B], to ``probabilities``, float32 [B, C], and ``classes``.

    It takes JPEG, PNG, BMP, GIF (the first frame) and WebP without transparency.

    Args:
      path: A directory that does not exist yet.
      run: The dataset's run.json.
      head: A Keras model from float32 [B, D] to float32 [B, C].
      classes: The classes' names.
      feature: Which of several stored features the head takes.

    Raises:
      ModelError: the model that made the features cannot be had any more.
    """
    tf = import_tensorflow()
    options = ExtractOptions.of(
        **{name: value for name, value in run["options"].items() if value is not None}, output="-"
    )
    spec = describe_model(options.model)
    if spec.digest != run["model"]["digest"]:
        raise ModelError(f"The model {spec.handle} is not the one that the features were made with any more.")
    backbone = _backbone(tf, frozen_model(spec), feature_field(run, feature, "-"))
    fast = run["decode"]["name"] == "fast"

    def picture(data: Any) -> Any:
        return _scale(tf, _resize(tf, _decode(tf, data, spec, fast), spec.preprocessing), spec.preprocessing)

    size = spec.preprocessing.size
    shape = tf.TensorSpec((size.height, size.width, 3), tf.float32)
    module = tf.Module()
    module.head, module.backbone = head, backbone
    names = tf.constant(classes)

    def serve(image_bytes: Any) -> Any:
        pixels = tf.map_fn(picture, image_bytes, fn_output_signature=shape)
        features = module.backbone(pixels)
        if isinstance(features, (list, tuple)):
            (features,) = features
        flat = tf.reshape(features, [tf.shape(features)[0], head.input_shape[1]])
        probabilities = head(flat, training=False)
        return {"probabilities": probabilities, "classes": tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1])}

    module.serve = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name=INPUT)])
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})


def _backbone(tf: Any, model: FrozenModel, output: str) -> Any:
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(model.graph.read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    element = wrapped.graph.as_graph_element
    return wrapped.prune(element(model.input), element(model.outputs[output]))


def _decode(tf: Any, data: Any, spec: ModelSpec, fast: bool) -> Any:
    """Pixels of any size, uint8 [H, W, 3]; branches by the first bytes, as the job does."""

    def jpeg() -> Any:
        return _upright(tf, data, _decode_jpeg(tf, data, spec.preprocessing, fast))

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
    least = tf.constant([preprocessing.size.height, preprocessing.size.width])
    fits = [tf.reduce_all(-(-sides // fraction) >= least) for fraction in _FRACTIONS[1:]]
    place = tf.add_n([tf.cast(fit, tf.int32) for fit in fits])
    return tf.switch_case(
        place, [lambda ratio=ratio: tf.io.decode_jpeg(data, channels=3, ratio=ratio) for ratio in _FRACTIONS]
    )


def _on_white(tf: Any, pixels: Any) -> Any:
    alpha = tf.cast(pixels[:, :, 3:], tf.float32) / 255.0
    mixed = tf.cast(pixels[:, :, :3], tf.float32) * alpha + 255.0 * (1.0 - alpha)
    return tf.cast(tf.round(mixed), tf.uint8)


def _upright(tf: Any, data: Any, pixels: Any) -> Any:
    """Turned as the EXIF data says, which TensorFlow does not look at."""
    start = tf.strings.substr(data, 0, _EXIF_SEARCH_BYTES)
    octets = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int32)
    count = tf.size(octets) - len(_EXIF) + 1
    windows = tf.stack([octets[place : place + count] for place in range(len(_EXIF))], axis=1)
    found = tf.where(tf.reduce_all(windows == list(_EXIF), axis=1))
    return tf.cond(
        tf.size(found) > 0,
        lambda: _turned(tf, pixels, _orientation(tf, octets[tf.cast(found[0, 0], tf.int32) + len(_EXIF) :])),
        lambda: pixels,
    )


def _orientation(tf: Any, tiff: Any) -> Any:
    """The orientation in the first directory of a TIFF header, int32; 1, upright, where it says nothing."""
    padded = tf.concat([tiff, tf.zeros([16], tf.int32)], 0)
    little = tf.equal(padded[0], ord("I"))

    def number(place: Any, octets: int) -> Any:
        place = tf.clip_by_value(place, 0, tf.size(padded) - octets)
        digits = padded[place : place + octets]
        digits = tf.cond(little, lambda: digits, lambda: tf.reverse(digits, [0]))
        return tf.reduce_sum(digits * tf.constant([1 << 8 * power for power in range(octets)]))

    first = number(4, 4)
    entries = tf.minimum(number(first, 2), 512)
    places = first + 2 + 12 * tf.range(entries)
    tags = tf.map_fn(lambda place: number(place, 2), places)
    matches = tf.where(tf.equal(tags, _ORIENTATION))
    return tf.cond(
        tf.size(matches) > 0, lambda: number(tf.gather(places, matches[0, 0]) + 8, 2), lambda: tf.constant(1)
    )


def _turned(tf: Any, pixels: Any, orientation: Any) -> Any:
    def is_one_of(*values: int) -> Any:
        return tf.reduce_any([tf.equal(orientation, value) for value in values])

    pixels = tf.cond(is_one_of(5, 6, 7, 8), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)
    return tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)


def _resize(tf: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    height, width = preprocessing.size.height, preprocessing.size.width
    if preprocessing.resize == "crop":
        rows, columns = tf.shape(pixels)[0], tf.shape(pixels)[1]
        real_rows, real_columns = tf.cast(rows, tf.float64), tf.cast(columns, tf.float64)
        crop_rows = tf.maximum(1, tf.minimum(rows, tf.cast(real_columns * height / width, tf.int32)))
        crop_columns = tf.maximum(1, tf.minimum(columns, tf.cast(real_rows * width / height, tf.int32)))
        top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
        pixels = pixels[top : top + crop_rows, left : left + crop_columns]
    return tf.image.resize(pixels, (height, width), antialias=preprocessing.resize == "antialias")


def _scale(tf: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    """As ``Preprocessing.scale`` does it, in the same order."""
    convention = preprocessing.convention
    low, high = convention.input_range.low, convention.input_range.high
    if (low, high) != (0.0, 255.0):
        pixels = pixels / (255.0 / (high - low))
    if low:
        pixels = pixels + low
    if convention.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    if convention.mean:
        pixels = pixels - tf.constant(convention.mean, tf.float32)
    if convention.deviation:
        pixels = pixels / tf.constant(convention.deviation, tf.float32)
    return pixels
