"""From an RGB image to a model's input. Every convention is defined here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize, ValueRange
from beam_job.modalities.base import FrozenInput

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
    """

    size: ImageSize
    convention: Convention
    resize: str = "bilinear"

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
        }


def choose_convention(frozen: FrozenInput, options: ModelOptions) -> Convention:
    """The convention that flags ask for, or that the publisher declares; they must not contradict each other.

    Raises:
      FlagNeededError: neither declares the range.
      ModelError: they contradict each other.
    """
    if options.preprocess and options.input_range:
        raise ModelError("Give either --input_range or --preprocess, found both.")
    wanted = KERAS_CONVENTIONS[options.preprocess] if options.preprocess else None
    if options.input_range:
        wanted = Convention(options.input_range)
    known: Convention | None = frozen.convention or (RAW if frozen.integer else None)
    if wanted and known and wanted != known:
        raise ModelError(
            f"The model {frozen.handle} takes pixels in {known.input_range} ({known.channels}"
            f"{', minus a mean' if known.mean else ''}); leave out --input_range and --preprocess, or convert it."
        )
    convention = wanted or known
    if convention is None:
        raise FlagNeededError(
            f"The model {frozen.handle} does not declare the range of its pixels; give --input_range=0,1 (the "
            f"convention of TF Hub), --input_range=-1,1, --input_range=0,255 or --preprocess=caffe, as its publisher "
            f"documents."
        )
    return convention
