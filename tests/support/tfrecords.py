"""Records for tests, as TensorFlow makes them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def _feature(value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if all(isinstance(one, (bytes, str)) for one in values):
        encoded = [one if isinstance(one, bytes) else one.encode() for one in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
    if all(isinstance(one, int) for one in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def example(**values: Any) -> bytes:
    """A serialized ``tf.train.Example``; two underscores in a name stand for a slash."""
    features = {name.replace("__", "/"): _feature(value) for name, value in values.items()}
    data: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return data
