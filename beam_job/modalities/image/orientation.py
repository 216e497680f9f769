"""The orientation of an image in its EXIF data (Exif 2.3, section 4.6.4). Decoding and the served model share it."""

from __future__ import annotations

ORIENTATION_TAG = 0x0112
EXIF_MARK = b"Exif\0\0"
UPRIGHT = 1
# The stored image becomes upright by these steps, in this order: rows and columns are exchanged, the rows are reversed,
# the columns are reversed. Each is needed for these values of the tag.
TRANSPOSED = (5, 6, 7, 8)
ROWS_REVERSED = (3, 4, 7, 8)
COLUMNS_REVERSED = (2, 3, 6, 7)
