"""Small SavedModels whose features are easy to compute: the mean and the maximum of each channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf


class Means(tf.Module):
    """Callable like a reusable SavedModel of TF Hub: float32 [B, size, size, 3] to [B, 3]."""

    def __init__(self, size: int | None = 32) -> None:
        super().__init__()
        self.scale = tf.Variable(tf.ones([3]))
        spec = tf.TensorSpec([None, size, size, 3], tf.float32, name="images")
        self._call = tf.function(self._means, input_signature=[spec, tf.TensorSpec([], tf.bool)])

    def _means(self, images: Any, training: Any) -> Any:
        noise = tf.where(training, 100.0, 0.0)  # shows if the model is called in training mode
        return tf.reduce_mean(images, [1, 2]) * self.scale + noise

    @tf.function
    def __call__(self, images: Any, training: bool = False) -> Any:
        return self._call(images, training)


def save_reusable(path: Path, size: int | None = 32) -> Path:
    module = Means(size)
    module(tf.zeros([1, size or 8, size or 8, 3]), training=False)
    module(tf.zeros([1, size or 8, size or 8, 3]), training=True)
    tf.saved_model.save(module, str(path))
    return path


def save_signatures(path: Path, outputs: int = 1, dtype: tf.DType = tf.float32, size: int | None = 32) -> Path:
    """A SavedModel that cannot be called: one signature, with one output or two."""
    module = tf.Module()
    module.scale = tf.Variable(tf.ones([3]))

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], dtype, name="images")])
    def serve(images: Any) -> Any:
        images = tf.cast(images, tf.float32)
        tensors = {"means": tf.reduce_mean(images, [1, 2]) * module.scale, "largest": tf.reduce_max(images, [1, 2])}
        return dict(list(tensors.items())[:outputs])

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return path


def save_token_model(path: Path) -> Path:
    """A model of the numbers of tokens, which no modality gives."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 128], tf.int32, name="tokens")])
    def serve(tokens: Any) -> Any:
        return {"sums": tf.reduce_sum(tokens, 1)}

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return path


def save_tf1_module(path: Path, size: int = 32) -> Path:
    """A module in the TF1 Hub format: a graph without tags for inference, one tagged ``train``, and the marker file."""
    builder = tf.compat.v1.saved_model.Builder(str(path))
    for training in (False, True):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            images = tf.compat.v1.placeholder(tf.float32, [None, size, size, 3], "images")
            scale = tf.compat.v1.get_variable("scale", initializer=tf.ones([3]), use_resource=False)
            means = tf.identity(tf.reduce_mean(images, [1, 2]) * scale + (100.0 if training else 0.0), "means")
            largest = tf.reduce_max(images, [1, 2], name="largest")
            session.run(scale.initializer)
            signature = tf.compat.v1.saved_model.predict_signature_def
            signatures = {
                "default": signature({"images": images}, {"default": means}),
                "image_feature_vector": signature({"images": images}, {"default": means, "largest": largest}),
            }
            if training:
                builder.add_meta_graph(["train"], signatures)
            else:
                builder.add_meta_graph_and_variables(session, [], signatures)
    builder.save()
    (path / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef { format: FORMAT_V3 }
    return path
