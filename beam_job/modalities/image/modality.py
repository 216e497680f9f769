"""Images as a modality: bytes in any common format to float32 [H, W, 3] in the model's convention."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from beam_job.core.errors import DecodeError, FlagNeededError, ModelError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Box, Float32Array, Shape
from beam_job.core.values import ImageSize
from beam_job.modalities.base import FrozenInput, InputRequest, Modality, ModelInput, Preview
from beam_job.modalities.image.decoding import (
    crop_image,
    decode_image,
    decode_pixels,
    image_suffixes,
    is_image,
    missing_extras,
    resized,
)
from beam_job.modalities.image.layout import Layout
from beam_job.modalities.image.policy import FAST, DecodePolicy
from beam_job.modalities.image.preprocessing import Preprocessing, choose_convention, range_note

_CHANNELS = 3
_GRAY = 127.5
_THUMBNAIL = (72, 72)
_THUMBNAIL_QUALITY = 70


@dataclasses.dataclass(frozen=True)
class ImageModality(Modality):
    """Images for one model.

    Attributes:
      input: From an image to the model's input.
      policy: How bytes become pixels.
      note: What the user should know of how the range was chosen; empty for nothing.
    """

    input: Preprocessing
    policy: DecodePolicy
    note: str = ""

    name: ClassVar[str] = "image"
    takes: ClassVar[str] = "images [B, H, W, C] or [B, C, H, W], with C 3 or 1"
    size_option: ClassVar[str] = "--image_size"
    suffixes: ClassVar[frozenset[str]] = image_suffixes()
    extras: ClassVar[Mapping[str, str]] = missing_extras()
    input_dtype: ClassVar[str] = "float32"

    @classmethod
    def matches(cls, declared: ModelInput) -> bool:
        return declared.is_number and Layout.of(declared.shape) is not None

    @classmethod
    def input_shape(cls, declared: ModelInput, request: InputRequest) -> Shape:
        height, width = _layout(declared).lengths(declared.shape)
        if request.size is None:
            if height is None or width is None:
                raise FlagNeededError(
                    f"The model {request.handle} takes images of any size; give the size to use it with, such as "
                    f"--image_size=224."
                )
            return (height, width, _CHANNELS)
        size = ImageSize(*request.size)
        if height not in (None, size.height) or width not in (None, size.width):
            raise ModelError(
                f"The model {request.handle} takes images of {height}x{width} pixels, found --image_size={size}."
            )
        return (size.height, size.width, _CHANNELS)

    @classmethod
    def of(cls, frozen: FrozenInput, model: ModelOptions, decode: DecodeOptions) -> ImageModality:
        height, width, _ = frozen.shape
        assert height is not None and width is not None
        convention = choose_convention(frozen, model)
        layout = _layout(frozen.declared)
        preprocessing = Preprocessing(ImageSize(height, width), convention, model.resize, layout)
        note = range_note(frozen, model)
        return cls(preprocessing, DecodePolicy(decode.decode, decode.max_image_pixels, decode.float_range), note)

    @classmethod
    def arranged(cls, batch: Any, declared: ModelInput) -> Any:
        return _layout(declared).arranged(batch)

    @classmethod
    def recognises(cls, start: bytes) -> bool:
        return is_image(start)

    @classmethod
    def preview(cls, content: bytes) -> Preview | None:
        try:
            pixels = decode_pixels(content, ImageSize(*_THUMBNAIL), DecodePolicy(FAST))
        except DecodeError:
            return None
        small = Image.fromarray(pixels[:, :, :_CHANNELS].astype(np.uint8))
        small.thumbnail(_THUMBNAIL)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
        return Preview("image", f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")

    def prepare(self, content: bytes) -> Float32Array:
        pixels = decode_image(content, self.input.size, self.policy, self.input.resize)
        scaled: Float32Array = self.input.convention.scale(pixels)
        return scaled

    def prepare_part(self, content: bytes, box: Box) -> Float32Array:
        pixels = crop_image(content, box, self.policy)
        scaled: Float32Array = self.input.convention.scale(resized(pixels, self.input.size, self.input.resize))
        return scaled

    @classmethod
    def cut(cls, content: bytes, box: Box) -> bytes:
        """A PNG of 8 bits."""
        file = io.BytesIO()
        Image.fromarray(crop_image(content, box, DecodePolicy())[:, :, :_CHANNELS].astype(np.uint8)).save(file, "PNG")
        return file.getvalue()

    def probe(self) -> Float32Array:
        """A gray image."""
        size = self.input.size
        gray = np.full((size.height, size.width, _CHANNELS), _GRAY, np.float32)
        scaled: Float32Array = self.input.convention.scale(gray)
        return scaled

    def notes(self) -> list[str]:
        return [self.note] if self.note else []

    def preprocessing(self) -> dict[str, Any]:
        return self.input.to_json()

    def decode_policy(self) -> dict[str, Any]:
        return self.policy.to_json()

    def serve(self, contents: Any) -> Any:
        from beam_job.modalities.image.serving import prepare_images

        return prepare_images(contents, self.input, self.policy)


def _layout(declared: ModelInput) -> Layout:
    layout = Layout.of(declared.shape)
    assert layout is not None, "the modality matches the input"
    return layout
