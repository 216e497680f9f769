"""The decode policy: how bytes become pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import ExampleTooLargeError
from beam_job.core.values import ValueRange

# uint8 or float32 [H, W, 4], in [0, 255]: red, green, blue, and a channel without meaning.
RgbxArray = npt.NDArray[Any]

EXACT, FAST = "exact", "fast"
# Raised whenever the same bytes give other pixels than before, so that a resumed run extracts them again.
_REVISION = 2


@dataclasses.dataclass(frozen=True)
class DecodePolicy:
    """How bytes become pixels; part of a dataset's identity.

    Attributes:
      name: ``exact``: the pixels of tf.io.decode_jpeg, bit for bit. ``fast``: large JPEGs at a fraction of their size.
      max_pixels: The largest height times width that is decoded; by default Pillow's limit.
      float_range: Black and white in images of floating-point numbers, or None, where those are refused.
    """

    name: str = EXACT
    max_pixels: int = 89_478_485
    float_range: ValueRange | None = None

    def check_size(self, width: int, height: int) -> None:
        """Checks what an image's header announces, before it is decoded.

        Raises:
          ExampleTooLargeError: it has more pixels than the limit.
        """
        if width * height > self.max_pixels:
            raise ExampleTooLargeError(
                f"expected at most {self.max_pixels} pixels, found {width}x{height}; raise --max_image_pixels to "
                f"allow it"
            )

    def to_json(self) -> dict[str, Any]:
        """The field ``decode`` of run.json."""
        fraction = ", scaled in the DCT by 1/2, 1/4 or 1/8, not below the model's size" if self.name == FAST else ""
        return {
            "name": self.name,
            "revision": _REVISION,
            "jpeg": f"libjpeg-turbo, fast integer DCT, fancy upsampling (as tf.io.decode_jpeg){fraction}",
            "orientation": "EXIF applied",
            "transparency": "composited on white",
            "max_pixels": self.max_pixels,
            **({} if self.float_range is None else {"float_range": str(self.float_range)}),
        }
