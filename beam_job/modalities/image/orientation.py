"""The orientation of an image in its EXIF data (Exif 2.3, section 4.6.4). Decoding and the served model share it."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

ORIENTATION_TAG = 0x0112
EXIF_MARK = b"Exif\0\0"
UPRIGHT = 1
# The stored image becomes upright by these steps, in this order: rows and columns are exchanged, the rows are reversed,
# the columns are reversed. Each is needed for these values of the tag.
TRANSPOSED = (5, 6, 7, 8)
ROWS_REVERSED = (3, 4, 7, 8)
COLUMNS_REVERSED = (2, 3, 6, 7)


def turned_upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A view of ``pixels`` [H, W, C], turned as the value of the tag asks."""
    if orientation in TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = orientation in ROWS_REVERSED, orientation in COLUMNS_REVERSED
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]
