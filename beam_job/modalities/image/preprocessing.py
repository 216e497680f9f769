"""What a model's input is, as far as pixels are concerned. This is where every convention stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_job.core.options import ImageSize, ValueRange
from beam_job.core.records import Float32Array

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


UNIT = Convention(ValueRange(0.0, 1.0))
RAW = Convention(ValueRange(0.0, 255.0))
# The modes of keras.applications.imagenet_utils.preprocess_input, with the constants that stand there.
KERAS_CONVENTIONS: Mapping[str, Convention] = {
    "caffe": Convention(ValueRange(0.0, 255.0), "BGR", mean=(103.939, 116.779, 123.68)),
    "tf": Convention(ValueRange(-1.0, 1.0)),
    "torch": Convention(ValueRange(0.0, 1.0), mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From a picture to the model's input; part of a dataset's identity.

    Attributes:
      size: Height and width in pixels.
      convention: How pixels become numbers.
      resize: ``bilinear``, ``antialias`` or ``crop``, as the option has it.
    """

    size: ImageSize
    convention: Convention
    resize: str = "bilinear"

    def scale(self, pixels: Float32Array) -> Float32Array:
        """The model's input for a picture of the right size.

        The order of operations is that of ``/ 255.0`` and of Keras' ``preprocess_input``, so the numbers are theirs.

        Args:
          pixels: float32 [H, W, 3], RGB in [0, 255]; may be overwritten.

        Returns:
          float32 [H, W, 3] in the model's convention.
        """
        convention = self.convention
        low, high = convention.input_range.low, convention.input_range.high
        if (low, high) != (0.0, 255.0):
            pixels /= np.float32(255.0 / (high - low))
        if low:
            pixels += np.float32(low)
        if convention.channels == "BGR":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        if convention.mean:
            pixels -= np.asarray(convention.mean, np.float32)
        if convention.deviation:
            pixels /= np.asarray(convention.deviation, np.float32)
        return pixels

    def to_json(self) -> dict[str, Any]:
        """The fields of ``preprocessing`` in run.json."""
        convention = self.convention
        return {
            "size": [self.size.height, self.size.width],
            "resize": self.resize,
            "channels": convention.channels,
            "input_range": [convention.input_range.low, convention.input_range.high],
            "mean": list(convention.mean) if convention.mean else None,
            "deviation": list(convention.deviation) if convention.deviation else None,
        }
