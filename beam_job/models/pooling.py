"""Pools the positions of a layer: those of a map, the frames of a sound, the tokens of a text."""

from __future__ import annotations

from typing import Any

import numpy as np

from beam_job.core.errors import ModelError
from beam_job.core.records import Float32Array, Shape
from beam_job.runtime.tensorflow import import_tensorflow

_SEQUENCE, _MAP = 3, 4  # ranks


def has_positions(tensor: Any) -> bool:
    """Whether a layer [B, ...] is a map or a sequence."""
    return tensor.shape.rank in (_SEQUENCE, _MAP)


def pooled(tensor: Any, pool: str, layer: str, mask: Any = None) -> Any:
    """A layer with its positions pooled.

    Args:
      tensor: float32 [B, ...]: a map [B, H, W, C] or a sequence [B, S, D], unless the pool is ``none`` or ``flatten``.
      pool: ``avg``, ``max``, ``flatten`` or ``none``.
      layer: What the user calls it, for messages.
      mask: [B, S], 1 for the positions of a sequence that count and 0 for those that fill it up; None if all count.

    Raises:
      ModelError: it has no positions.
    """
    tf = import_tensorflow()
    if pool == "none":
        return tensor
    if pool == "flatten":
        length = tensor.shape[1:].num_elements() if tensor.shape.rank else None
        return tf.reshape(tensor, [-1, length] if length else [tf.shape(tensor)[0], -1])
    if not has_positions(tensor):
        shape = tuple(tensor.shape[1:]) if tensor.shape.rank else "unknown"
        raise ModelError(
            f"{pool} pools a map [height, width, channels] or a sequence [positions, features], and {layer!r} has the "
            f"shape {shape}; leave {pool} out."
        )
    positions = [1] if tensor.shape.rank == _SEQUENCE else [1, 2]
    if mask is None or tensor.shape.rank == _MAP:
        return (tf.reduce_mean if pool == "avg" else tf.reduce_max)(tensor, axis=positions)
    counts = tf.cast(mask, tensor.dtype)[:, :, tf.newaxis]
    if pool == "avg":
        return tf.math.divide_no_nan(tf.reduce_sum(tensor * counts, axis=1), tf.reduce_sum(counts, axis=1))
    return tf.reduce_max(tf.where(counts > 0, tensor, tensor.dtype.min), axis=1)


def joined(windows: Float32Array, pool: str) -> Float32Array:
    """The features of an example from those of its windows.

    Args:
      windows: float32 [windows, ...], whose own positions are pooled already.
      pool: ``avg`` or ``max`` over the windows; else they follow each other: [windows, D], or, where each has
        positions, [windows * positions, ...].
    """
    if pool in ("avg", "max"):
        whole = windows.mean(axis=0, dtype=np.float64) if pool == "avg" else windows.max(axis=0)
        return np.asarray(whole, np.float32)
    return windows if windows.ndim < _SEQUENCE else windows.reshape(-1, *windows.shape[2:])


def joined_shape(window: Shape, pool: str) -> Shape:
    """The shape of what :func:`joined` gives for windows with features of this shape."""
    if pool in ("avg", "max"):
        return window
    return (None, *(window if len(window) < _SEQUENCE - 1 else window[1:]))


def joined_tensor(windows: Any, pool: str) -> Any:
    """The same as :func:`joined` in TensorFlow's operations."""
    tf = import_tensorflow()
    if pool in ("avg", "max"):
        return (tf.reduce_mean if pool == "avg" else tf.reduce_max)(windows, axis=0)
    return windows if windows.shape.rank < _SEQUENCE else tf.reshape(windows, [-1, *windows.shape[2:]])
