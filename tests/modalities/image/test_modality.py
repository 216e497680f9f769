from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Shape
from beam_job.core.values import ImageSize, ValueRange
from beam_job.modalities.base import FirstSteps, FrozenInput, InputRequest, ModelInput
from beam_job.modalities.image.layout import Layout
from beam_job.modalities.image.modality import ImageModality
from beam_job.modalities.image.preprocessing import UNIT, Convention, range_of
from beam_job.modalities.selection import modality_of
from tests.modalities.contract import ModalityContract
from tests.support.images import encode, jpeg, photograph


def frozen_input(height: int, width: int, convention: Convention | None) -> FrozenInput:
    declared = ModelInput("images", "float32", (None, height, width, 3))
    return FrozenInput("m", (height, width, 3), declared, convention)


class TestImages(ModalityContract):
    @pytest.fixture
    def modality(self) -> ImageModality:
        frozen = frozen_input(32, 48, UNIT)
        return ImageModality.of(frozen, ModelOptions(), DecodeOptions())

    @pytest.fixture
    def contents(self) -> list[bytes]:
        return [jpeg(photograph(seed=0)), encode(photograph(90, 70, seed=1), "PNG")]


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float32", (None, 224, 224, 3)),
        ("float32", (None, None, None, None)),
        ("uint8", (None, 64, 64, 3)),
        ("bfloat16", (1, 8, 8, 3)),
        ("float32", None),
        ("float32", (None, 3, 64, 64)),
        ("float32", (None, 64, 64, 1)),
        ("uint8", (None, 1, None, None)),
    ],
)
def test_models_of_images(dtype: str, shape: tuple[int | None, ...] | None) -> None:
    assert modality_of(ModelInput("images", dtype, shape)) is ImageModality


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("string", (None, 3)), ("float32", (None, 10)), ("float32", (None, 8, 8, 4)), ("string", (None, 8, 8, 3))],
)
def test_other_models(dtype: str, shape: tuple[int | None, ...] | None) -> None:
    with pytest.raises(
        ModelError, match=r"Expected a model of .*images \[B, H, W, C\] .*, found .*: its input 'x' is "
    ):
        modality_of(ModelInput("x", dtype, shape))


def test_the_size_of_the_input() -> None:
    free, fixed = (ModelInput("images", "float32", (None, side, side, 3)) for side in (None, 32))
    assert ImageModality.input_shape(fixed, InputRequest("m", None)) == (32, 32, 3)
    assert ImageModality.input_shape(free, InputRequest("m", (20, 30))) == (20, 30, 3)
    with pytest.raises(FlagNeededError, match="--image_size=224"):
        ImageModality.input_shape(free, InputRequest("m", None))
    with pytest.raises(ModelError, match="32x32 pixels, found --image_size=20x30"):
        ImageModality.input_shape(fixed, InputRequest("m", (20, 30)))


def test_flags_fill_in_what_the_model_does_not_say() -> None:
    unknown = frozen_input(8, 8, None)
    modality = ImageModality.of(unknown, ModelOptions(input_range=ValueRange(-1, 1), resize="crop"), DecodeOptions())
    assert (modality.input.size, modality.input.resize) == (ImageSize(8, 8), "crop")
    assert modality.input.convention.input_range == ValueRange(-1, 1)
    with pytest.raises(FlagNeededError, match="does not declare the range"):
        ImageModality.of(unknown, ModelOptions(), DecodeOptions())


@pytest.mark.parametrize(
    ("shape", "layout", "lengths"),
    [
        (None, Layout(), (None, None)),
        ((None, 20, 30, 3), Layout(), (20, 30)),
        ((None, 3, 20, 30), Layout(channels_first=True), (20, 30)),
        ((None, 3, 3, 3), Layout(), (3, 3)),
        ((None, 20, 30, 1), Layout(1), (20, 30)),
        ((None, 1, 20, 30), Layout(1, channels_first=True), (20, 30)),
        ((None, 3, 20, 1), Layout(channels_first=True), (20, 1)),
        ((None, 20, 30, 4), None, None),
        ((20, 30, 3), None, None),
    ],
    ids=str,
)
def test_the_layout_of_an_input(shape: Shape | None, layout: Layout | None, lengths: object) -> None:
    assert Layout.of(shape) == layout
    assert layout is None or layout.lengths(shape) == lengths


@pytest.mark.parametrize(
    ("factor", "offset", "known"),
    [
        ((1 / 255,), (0.0,), ValueRange(0, 255)),
        ((1 / 127.5,), (-1.0,), ValueRange(0, 255)),
        ((1 / 128,), (-127.5 / 128,), ValueRange(0, 255)),
        ((2.0,), (-1.0,), ValueRange(0, 1)),
        ((1.0,), (-128.0,), ValueRange(0, 255)),
        ((0.02, 0.02, 0.02), (-2.4, -2.3, -2.0), ValueRange(0, 255)),
        ((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), None),  # the order of its channels is not known
        ((4.4, 4.5, 4.4), (-2.1, -2.0, -1.8), None),  # a mean of about 0.5 is one of several ranges
        ((3.0,), (0.0,), None),
        ((0.0,), (1.0,), None),
    ],
    ids=str,
)
def test_the_range_that_the_first_steps_of_a_model_tell(
    factor: tuple[float, ...], offset: tuple[float, ...], known: ValueRange | None
) -> None:
    assert range_of(FirstSteps(factor, offset)) == known


def test_a_range_that_the_model_tells_is_told_and_a_flag_wins() -> None:
    declared = ModelInput("images", "float32", (None, 8, 8, 3))
    frozen = FrozenInput("m", (8, 8, 3), declared, None, FirstSteps((1 / 255,), (0.0,)))
    known = ImageModality.of(frozen, ModelOptions(), DecodeOptions())
    assert known.input.convention.input_range == ValueRange(0, 255)
    assert known.notes() == ["the model itself begins with a scaling from pixels in 0,255, so it is given these"]
    given = ImageModality.of(frozen, ModelOptions(input_range=ValueRange(0, 1)), DecodeOptions())
    assert given.input.convention.input_range == ValueRange(0, 1)
    assert given.notes() == ["the model itself begins with a scaling from pixels in 0,255, and is given 0,1"]
    assert ImageModality.of(frozen, ModelOptions(input_range=ValueRange(0, 255)), DecodeOptions()).notes() == []


def test_a_preview_is_a_small_jpeg() -> None:
    preview = ImageModality.preview(encode(photograph(300, 500), "PNG"))
    assert preview is not None
    kind, _, data = preview.content.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert max(image.size) == 72
    assert ImageModality.preview(b"no image") is None


def _turned(orientation: int, height: int, width: int, before: bytes = b"") -> bytes:
    """A JPEG with an orientation, and with bytes in front of the segment that tells it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(photograph(height, width, orientation), exif=exif)
    return data[:2] + before + data[2:]


_PROFILE = b"\xff\xe2" + (60_002).to_bytes(2, "big") + b"\xff\xda" * 30_000
_ODD = b"\xff\xd3\0\xff\xff\xff\xd3\r\n"


@pytest.mark.parametrize("decode", ["exact", "fast"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_served_pixels_equal_the_stored_ones_however_an_image_is_turned(orientation: int, decode: str) -> None:
    import tensorflow as tf

    contents = [
        _turned(orientation, 150, 61),
        _turned(orientation, 61, 150, _PROFILE * 3),
        _turned(orientation, 40, 60, _ODD),
        _turned(orientation, 333, 200, _ODD + _PROFILE),
        encode(photograph(150, 61), "JPEG", "CMYK"),
    ]
    frozen = frozen_input(24, 60, None)
    modality = ImageModality.of(frozen, ModelOptions(preprocess="tf"), DecodeOptions(decode=decode))
    served = tf.function(modality.serve)(tf.constant(contents)).numpy()
    np.testing.assert_allclose(served, np.stack([modality.prepare(content) for content in contents]), atol=1e-5)


def test_the_served_input_equals_the_prepared_one() -> None:
    import tensorflow as tf

    contents = [jpeg(photograph(61, 83, seed=2)), encode(photograph(90, 70, seed=3), "PNG")]
    for preprocess, resize in (("caffe", "bilinear"), ("torch", "crop"), ("tf", "antialias")):
        frozen = frozen_input(24, 32, None)
        modality = ImageModality.of(frozen, ModelOptions(preprocess=preprocess, resize=resize), DecodeOptions())
        served = tf.function(modality.serve)(tf.constant(contents)).numpy()
        expected = np.stack([modality.prepare(content) for content in contents])
        np.testing.assert_allclose(served, expected, atol=0.02 if resize == "antialias" else 1e-5 * 255)
