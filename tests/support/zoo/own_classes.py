"""Classes of Keras as a package of its own defines them: not registered, so a file names their module."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("beam_job_tests")
class Scale(keras.layers.Layer):
    """Multiplies by a weight."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, values: Any) -> Any:
        return values * self.factor


@keras.saving.register_keras_serializable("beam_job_tests")
class Network(keras.Model):
    """A model whose layers are known, and whose call is code."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.convolution = keras.layers.Conv2D(4, 3, name="convolution")
        self.relu = keras.layers.ReLU(name="relu")
        self.pooling = keras.layers.GlobalMaxPooling2D(name="pooling")
        self.dropout = keras.layers.Dropout(0.5, name="dropout")

    def call(self, images: Any, training: Any = None) -> Any:
        return self.dropout(self.pooling(self.relu(self.convolution(images))), training=training)


@keras.saving.register_keras_serializable("beam_job_tests")
class Chain(keras.Model):
    """Layers one after the other, called by code."""

    def __init__(self, parts: list[keras.layers.Layer], **options: Any) -> None:
        super().__init__(**options)
        self.parts = parts

    @classmethod
    def of(cls, parts: list[keras.layers.Layer]) -> Chain:
        return cls(parts)

    def call(self, images: Any, training: Any = None) -> Any:
        for part in self.parts:
            images = part(images)
        return images

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parts": [keras.saving.serialize_keras_object(part) for part in self.parts]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Chain:
        parts = [keras.saving.deserialize_keras_object(part) for part in config.pop("parts")]
        return cls(parts, **config)
