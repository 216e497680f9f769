"""What a form of model is, and what its builders share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.support.images import photograph

SIDE = 32
RGB = (SIDE, SIDE, 3)
RANGE = {"input_range": "0,1"}
# Of the largest value of a feature. Four steps of each type, since engines round at different places.
EXACT, FLOAT16, BFLOAT16 = 1e-5, 2e-3, 2e-2
IMAGES = tf.TensorSpec([None, *RGB], tf.float32, name="images")
# From one example to its features, with a batch of 1: an image is float32 [1, SIDE, SIDE, 3], values from 0 to 1; a
# text is strings [1]; a sound is its whole waveform, float32 [N] at 16 kHz.
Call = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of model.

    Attributes:
      what: What it is, a row of the table in docs/models.md.
      name: Its file or directory.
      make: Writes it to a path, and returns the direct call; None where it is refused.
      options: What is given beside ``--model``.
      says: What the sentence says that refuses it, a regular expression; empty where it is not refused.
      tolerance: Largest difference from the direct call, as a part of the largest value.
      requires: A package that it needs; without it the form is left out.
      modality: What it takes: ``image``, ``text`` or ``audio``.
    """

    what: str
    name: str
    make: Callable[[Path], Call | None]
    options: Mapping[str, str] = dataclasses.field(default_factory=lambda: RANGE)
    says: str = ""
    tolerance: float = EXACT
    requires: str = ""
    modality: str = "image"


def images() -> Sequence[bytes]:
    """Dark and bright images of the size of most forms, as PNG."""
    from tests.support.images import encode

    levels = ((0, 0.4), (0.6, 1), (0, 1), (0.3, 0.5))
    return [
        encode(np.uint8(np.clip(photograph(SIDE, SIDE, seed) * (high - low) + 255 * low, 0, 255)), "PNG")
        for seed, (low, high) in enumerate(levels)
    ]


class Network(tf.Module):
    """A small convolutional network, [B, H, W, C] to [B, 6]."""

    def __init__(self, channels: int = 3, dtype: str = "float32") -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(tf.cast(random.normal(size=(3, 3, channels, 8)) / 5, dtype))
        self.dense = tf.Variable(tf.cast(random.normal(size=(8, 6)), dtype))

    def maps(self, images: Any) -> Any:
        return tf.nn.relu(tf.nn.conv2d(images, self.kernel, 2, "SAME"))

    def embed(self, images: Any) -> Any:
        return tf.matmul(tf.reduce_mean(self.maps(images), [1, 2]), self.dense)


def dropped(network: Network, images: Any) -> Any:
    """The embedding in training mode."""
    return network.embed(tf.nn.dropout(images, 0.5))


def save(path: Path, module: tf.Module, **signatures: tuple[Callable[..., Any], Sequence[tf.TensorSpec]]) -> None:
    """A SavedModel with signatures."""
    served = {name: tf.function(call, input_signature=specs) for name, (call, specs) in signatures.items()}
    module.served = list(served.values())
    tf.saved_model.save(module, str(path), signatures=served)
