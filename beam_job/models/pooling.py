"""Pools the positions of a layer: those of a map, the frames of a sound, the tokens of a text."""

from __future__ import annotations

from typing import Any

from beam_job.core.errors import ModelError
from beam_job.runtime.tensorflow import import_tensorflow

_SEQUENCE, _MAP = 3, 4  # ranks


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
    if tensor.shape.rank not in (_SEQUENCE, _MAP):
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
