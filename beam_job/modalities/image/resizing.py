"""Resizes images to the model's size as TensorFlow does, without TensorFlow.

The arithmetic of the default is that of the kernel ``ResizeBilinear`` with half-pixel centres and no antialiasing,
which ``tf.image.resize`` runs by default (tensorflow/core/kernels/image/resize_bilinear_op.cc). Each output pixel needs
four input pixels, so the input is gathered, never converted as a whole: a photograph of 12 megapixels costs hardly more
than a small one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from beam_job.core.records import Float32Array

# Output rows per block. Fewer would keep the intermediate arrays in the core's own cache; but each step of NumPy
# releases the GIL and must wait for it again, which costs more when several threads resize.
_BLOCK_ROWS = 224
# An integer or complex type as wide as a whole pixel, which lets numpy gather pixels rather than channels.
_PIXEL_TYPES: dict[Any, np.dtype[Any]] = {
    np.dtype(np.uint8): np.dtype(np.uint32),
    np.dtype(np.float32): np.dtype(np.complex128),
}

Indices = npt.NDArray[np.intp]


@functools.lru_cache(maxsize=1024)
def _interpolation(size_in: int, size_out: int) -> tuple[Indices, Indices, Float32Array]:
    """For each output position: its lower and upper neighbour in the input, and the weight of the upper one."""
    scale = np.float32(size_in) / np.float32(size_out)
    position = (np.arange(size_out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(position)
    lower = np.maximum(floor, 0).astype(np.intp)
    upper = np.minimum(np.ceil(position), size_in - 1).astype(np.intp)
    return lower, upper, (position - floor).astype(np.float32)


class _RowBlock(NamedTuple):
    """A block of output rows: its slice, the input rows that it needs, and among those the neighbours of each row."""

    rows: slice
    needed: slice | Indices  # a slice where all rows between the first and the last are needed
    above: Indices
    below: Indices
    weight: Float32Array


@functools.lru_cache(maxsize=1024)
def _row_blocks(size_in: int, size_out: int) -> list[_RowBlock]:
    above, below, weight = _interpolation(size_in, size_out)
    blocks = []
    for start in range(0, size_out, _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, size_out))
        needed, places = np.unique((above[rows], below[rows]), return_inverse=True)
        first, end = int(needed[0]), int(needed[-1]) + 1
        dense = end - first == len(needed)
        upper, lower = places.reshape(2, -1)
        blocks.append(_RowBlock(rows, slice(first, end) if dense else needed, upper, lower, weight[rows, np.newaxis]))
    return blocks


def _gathered(whole: npt.NDArray[Any], rows: slice | Indices, columns: Indices) -> npt.NDArray[Any]:
    """``whole[rows][:, columns]``, without a copy of whole rows in between."""
    gathered: npt.NDArray[Any]
    if isinstance(rows, slice):
        gathered = whole[rows].take(columns, axis=1)
    else:
        gathered = whole.reshape(-1).take(rows[:, np.newaxis] * whole.shape[1] + columns)
    return gathered


def resize_bilinear(pixels: npt.NDArray[Any], height: int, width: int) -> Float32Array:
    """``tf.image.resize(pixels, (height, width))``, bit for bit.

    Args:
      pixels: uint8 or float32 [H, W, 4], C-contiguous; the fourth channel is ignored.
      height: Rows of the result.
      width: Columns of the result.

    Returns:
      float32 [height, width, 3] in the range of the input, not rounded.
    """
    left, right, x_weight = _interpolation(pixels.shape[1], width)
    whole = pixels.view(_PIXEL_TYPES[pixels.dtype])[:, :, 0]
    x_weight = np.repeat(x_weight, 4)
    result = np.empty((height, width, 3), np.float32)
    for block in _row_blocks(pixels.shape[0], height):
        # Separate arrays: with two views of one array, NumPy copies an operand in case they overlap.
        near, far = (
            _gathered(whole, block.needed, side).view(pixels.dtype).astype(np.float32) for side in (left, right)
        )
        far -= near
        far *= x_weight
        far += near
        top, bottom = far.take(block.above, axis=0), far.take(block.below, axis=0)
        bottom -= top
        bottom *= block.weight
        bottom += top
        for channel in range(3):
            result[block.rows, :, channel] = bottom[:, channel::4]
    return result


def resize_antialias(pixels: npt.NDArray[Any], height: int, width: int) -> Float32Array:
    """``tf.image.resize(pixels, (height, width), antialias=True)`` to within 0.02 of 255, by Pillow's triangle filter.

    Arguments and result are those of :func:`resize_bilinear`.
    """
    channels = [
        Image.fromarray(np.ascontiguousarray(pixels[:, :, channel], np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for channel in range(3)
    ]
    return np.stack([np.asarray(channel, np.float32) for channel in channels], axis=2)


def resize_crop(pixels: npt.NDArray[Any], height: int, width: int) -> Float32Array:
    """``keras.preprocessing.image.smart_resize``: the largest centred part with the target's proportions, bilinear.

    Arguments and result are those of :func:`resize_bilinear`.
    """
    rows, columns = crop_slices(pixels.shape[0], pixels.shape[1], height, width)
    return resize_bilinear(np.ascontiguousarray(pixels[rows, columns]), height, width)


def crop_slices(
    rows: Any,
    columns: Any,
    height: int,
    width: int,
    minimum: Callable[[Any, Any], Any] = min,
    maximum: Callable[[Any, Any], Any] = max,
) -> tuple[slice, slice]:
    """The largest centred part of an image with the proportions of ``height`` and ``width``, as Keras computes it.

    The source is keras/src/utils/image_utils.py, in integer arithmetic, which gives the same for sides below 2**26.

    Args:
      rows: The height of the image: an integer, or a tensor.
      columns: The width of the image, likewise.
      height: The height of the target.
      width: The width of the target.
      minimum: The smaller of two such values.
      maximum: The larger of two such values.
    """
    crop_rows = maximum(1, minimum(rows, columns * height // width))
    crop_columns = maximum(1, minimum(columns, rows * width // height))
    top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
    return slice(top, top + crop_rows), slice(left, left + crop_columns)


RESIZES = {"bilinear": resize_bilinear, "antialias": resize_antialias, "crop": resize_crop}
