"""What tests of heads share."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model whose features are the pixels of an image of 8x8."""
    image = tf.keras.Input((8, 8, 3))
    path = tmp_path_factory.mktemp("pixels") / "pixels.keras"
    tf.keras.Model(image, tf.keras.layers.Flatten()(image)).save(path)
    return {"model": str(path), "input_range": "0,1", "engine": "tensorflow"}
