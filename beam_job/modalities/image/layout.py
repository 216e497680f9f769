"""How a model's input holds an image: where the channels are, and how many."""

from __future__ import annotations

import dataclasses
from typing import Any

from beam_job.core.records import Shape

_COLOURS, _GRAY = 3, 1


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a model's input holds an image.

    Attributes:
      channels: 3 for colours, 1 for gray.
      channels_first: Whether it is [B, C, H, W] rather than [B, H, W, C].
    """

    channels: int = _COLOURS
    channels_first: bool = False

    @classmethod
    def of(cls, shape: Shape | None) -> Layout | None:
        """The layout of an input of this shape, batch included; None for what holds no image."""
        if shape is None:  # of any rank
            return PLAIN
        if len(shape) != 4:
            return None
        first, last = shape[1], shape[3]
        if last == _COLOURS:
            return PLAIN
        if first == _COLOURS:
            return cls(channels_first=True)
        if last in (None, _GRAY):
            return cls(last or _COLOURS)
        return cls(_GRAY, channels_first=True) if first == _GRAY else None

    def lengths(self, shape: Shape | None) -> tuple[int | None, int | None]:
        """Height and width in an input of this layout; None for what is not fixed."""
        if shape is None:
            return None, None
        return (shape[2], shape[3]) if self.channels_first else (shape[1], shape[2])

    def arranged(self, images: Any) -> Any:
        """Images in this layout, in TensorFlow's operations.

        Args:
          images: Tensor [B, H, W, 3] of colours in RGB.

        Returns:
          Tensor [B, H, W, C] or [B, C, H, W]; gray by ``tf.image.rgb_to_grayscale``.
        """
        from beam_job.runtime.tensorflow import import_tensorflow

        tf = import_tensorflow()
        if self.channels == _GRAY:
            images = tf.image.rgb_to_grayscale(images)
        return tf.transpose(images, [0, 3, 1, 2]) if self.channels_first else images

    def to_json(self) -> dict[str, Any]:
        """What is unusual about it, for the field ``preprocessing`` of run.json."""
        gray = {"gray": "tf.image.rgb_to_grayscale"} if self.channels == _GRAY else {}
        return {**gray, **({"layout": "channels first"} if self.channels_first else {})}


PLAIN = Layout()  # [B, H, W, 3], what most models take
