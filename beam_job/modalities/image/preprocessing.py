"""From an RGB image to a model's input. Every convention is defined here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize, ValueRange
from beam_job.modalities.base import FirstSteps, FrozenInput, ModelInput
from beam_job.modalities.image.layout import PLAIN, Layout

Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Convention:
    """How pixels become numbers.

    Attributes:
      input_range: The values of black and white, before mean and deviation.
      channels: ``RGB`` or ``BGR``: the order of the channels, and of mean and deviation.
      mean: What is subtracted from each channel, or None.
      deviation: What each channel is divided by after that, or None.
    """

    input_range: ValueRange
    channels: str = "RGB"
    mean: Triple | None = None
    deviation: Triple | None = None

    def scale(self, pixels: Any) -> Any:
        """The model's input for images of the model's size.

        The order of the operations is that of ``/ 255.0`` and of Keras' ``preprocess_input``, so the numbers are equal
        to theirs. Only operators are used, which NumPy arrays and TensorFlow's tensors share: the job and the served
        model run the same code.

        Args:
          pixels: float32 [..., H, W, 3], RGB in [0, 255]; an array may be overwritten.

        Returns:
          float32 [..., H, W, 3] in this convention.
        """
        low, high = self.input_range.low, self.input_range.high
        if (low, high) != (0.0, 255.0):
            pixels /= np.float32(255.0 / (high - low))
        if low:
            pixels += np.float32(low)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        if self.mean:
            pixels -= np.asarray(self.mean, np.float32)
        if self.deviation:
            pixels /= np.asarray(self.deviation, np.float32)
        return pixels


UNIT = Convention(ValueRange(0.0, 1.0))
RAW = Convention(ValueRange(0.0, 255.0))
_UNIT, _BYTES = UNIT.input_range, RAW.input_range
_WORDS = ValueRange(0.0, 65535.0)
_ROUNDING = 0.01  # 1/127.5 and 1/128 are both met
_RISING = 5.0  # of 255
_RANGES = "--input_range=0,1 (the convention of TF Hub), --input_range=-1,1, --input_range=0,255 or --preprocess=caffe"
# The modes of keras.applications.imagenet_utils.preprocess_input, with its constants.
KERAS_CONVENTIONS: Mapping[str, Convention] = {
    "caffe": Convention(ValueRange(0.0, 255.0), "BGR", mean=(103.939, 116.779, 123.68)),
    "tf": Convention(ValueRange(-1.0, 1.0)),
    "torch": Convention(ValueRange(0.0, 1.0), mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From an image to the model's input; part of a dataset's identity.

    Attributes:
      size: Height and width in pixels.
      convention: How pixels become numbers.
      resize: ``bilinear``, ``antialias`` or ``crop``, as in the option.
      layout: How the model's input holds an image; the frozen graph arranges it.
    """

    size: ImageSize
    convention: Convention
    resize: str = "bilinear"
    layout: Layout = PLAIN

    def to_json(self) -> dict[str, Any]:
        """The field ``preprocessing`` of run.json."""
        convention = self.convention
        return {
            "size": [self.size.height, self.size.width],
            "resize": self.resize,
            "channels": convention.channels,
            "input_range": [convention.input_range.low, convention.input_range.high],
            "mean": list(convention.mean) if convention.mean else None,
            "deviation": list(convention.deviation) if convention.deviation else None,
            **self.layout.to_json(),
        }


def choose_convention(frozen: FrozenInput, options: ModelOptions) -> Convention:
    """The convention that flags ask for, that the publisher declares, or that the model itself shows.

    Raises:
      FlagNeededError: none of them declares the range.
      ModelError: flags contradict the publisher, or the model's type does not hold the range.
    """
    if options.preprocess and options.input_range:
        raise ModelError("Give either --input_range or --preprocess, found both.")
    wanted = KERAS_CONVENTIONS[options.preprocess] if options.preprocess else None
    if options.input_range:
        wanted = Convention(options.input_range)
    dtype = frozen.declared.dtype
    certain: Convention | None = frozen.convention or (RAW if dtype == "uint8" else None)
    if wanted and certain and wanted != certain:
        raise ModelError(
            f"The model {frozen.handle} takes pixels in {certain.input_range} ({certain.channels}"
            f"{', minus a mean' if certain.mean else ''}); leave out --input_range and --preprocess, or convert it."
        )
    convention = wanted or certain or _shown(frozen)
    if convention is None:
        ranges = "--input_range=-128,127 or --input_range=0,127" if dtype == "int8" else _RANGES
        raise FlagNeededError(
            f"The model {frozen.handle} does not declare the range of its pixels; give {ranges}, as its publisher "
            f"documents."
        )
    if not _fits(convention.input_range, frozen.declared):
        limits = np.iinfo(dtype)
        raise ModelError(
            f"The model {frozen.handle} takes {dtype}, which holds {limits.min} to {limits.max}, found the range "
            f"{convention.input_range}."
        )
    return convention


def range_note(frozen: FrozenInput, options: ModelOptions) -> str:
    """What the user should know of the range that was chosen; empty for nothing."""
    shown = range_of(frozen.first_steps) if frozen.first_steps else None
    if shown is None or frozen.convention or frozen.declared.dtype == "uint8":
        return ""
    if not options.input_range and not options.preprocess:
        return f"the model itself begins with a scaling from pixels in {shown}, so it is given these"
    if options.input_range and options.input_range != shown:
        return f"the model itself begins with a scaling from pixels in {shown}, and is given {options.input_range}"
    return ""


def range_of(steps: FirstSteps) -> ValueRange | None:
    """The range of the pixels that a model scales itself, or None where its arithmetic does not tell.

    A scaling to [0, 1] or [-1, 1] tells where it starts from. So does a mean that is subtracted, if it is above 1: then
    pixels reach further than that. Photographs are brightest in red, so means that rise may be those of BGR, which a
    range alone does not say.
    """
    factor, offset = np.broadcast_arrays(np.asarray(steps.factor), np.asarray(steps.offset))
    for pixels, scaled in ((_BYTES, (0, 1)), (_BYTES, (-1, 1)), (_UNIT, (-1, 1)), (_WORDS, (0, 1)), (_WORDS, (-1, 1))):
        low, high = pixels.low * factor + offset, pixels.high * factor + offset
        if np.allclose(low, scaled[0], atol=_ROUNDING) and np.allclose(high, scaled[1], atol=_ROUNDING):
            return pixels
    mean = -offset / np.where(factor, factor, np.inf)
    likely = np.all(factor > 0) and np.all(mean > 1) and np.all(mean < _BYTES.high)
    return _BYTES if likely and mean[-1] - mean[0] < _RISING else None


def _shown(frozen: FrozenInput) -> Convention | None:
    """The convention that the model itself shows, by the type of its input or by what it begins with."""
    declared = frozen.declared
    shown = range_of(frozen.first_steps) if frozen.first_steps else None
    if shown and _fits(shown, declared):
        return Convention(shown)
    return RAW if declared.is_integer and _fits(RAW.input_range, declared) else None


def _fits(values: ValueRange, declared: ModelInput) -> bool:
    """Whether the type of an input holds a range of values."""
    if not declared.is_integer:
        return True
    limits = np.iinfo(declared.dtype)
    return bool(limits.min <= values.low and values.high <= limits.max)
