"""Code that the peers share: the command line, the frozen model, decoding and writing examples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SIDE = 224
BATCH = 16
CORES = len(os.sched_getaffinity(0))


def arguments() -> argparse.Namespace:
    """The parsed command line of a peer."""
    parser = argparse.ArgumentParser()
    for name in ("images", "output", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--decode", choices=("exact", "fast"), default="exact")
    args = parser.parse_args()
    Path(args.output).mkdir(parents=True, exist_ok=True)
    return args


def read_list(path: str) -> list[tuple[str, int]]:
    """The paths and labels in the list of images."""
    rows = (line.rsplit("\t", 1) for line in Path(path).read_text().splitlines())
    return [(name, int(label)) for name, label in rows]


def load_model(path: str, precision: str, streams: int) -> Callable[[Any], Any]:
    """The SavedModel with its variables frozen to constants, in one graph, for ``streams`` concurrent calls.

    Each call runs on one thread: two single-threaded calls have a higher throughput than one that uses two threads.
    """
    tf = single_threaded(streams)
    if precision == "bf16":
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    model = tf.saved_model.load(path)
    return frozen(lambda images: model(images, training=False), tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32))


def load_saved(path: str) -> Any:
    """The SavedModel as it is."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    return tf.saved_model.load(path)


def single_threaded(streams: int) -> Any:
    """TensorFlow, with ``streams`` concurrent calls of one thread each; before anything is loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(streams)
    return tf


def frozen(call: Callable[[Any], Any], spec: Any) -> Callable[[Any], Any]:
    """A call of a model with its variables frozen to constants; the tables of the model must outlive it."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    constant = convert_variables_to_constants_v2(tf.function(call).get_concrete_function(spec))
    return lambda batch: constant(batch)[0]


def decode(data: Any, policy: str = "exact") -> Any:
    """Decodes and resizes an image for the model with TensorFlow: a tensor in, a tensor out."""
    import tensorflow as tf

    ratio = 1
    if policy == "fast":  # fixed when a graph is built; 8 turns 4000x3000 into 500x375, as in the job
        ratio = 8
    pixels = tf.io.decode_jpeg(data, channels=3, ratio=ratio)
    return tf.image.resize(pixels, (SIDE, SIDE)) / 255.0


def write_examples(path: Path, rows: Iterable[tuple[Any, int, str]]) -> None:
    """Writes the feature, label and id of each row to a TFRecord file of examples."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for feature, label, name in rows:
            writer.write(pack(feature, label, name))


def pack(feature: Any, label: int, name: str) -> bytes:
    """A feature vector, a label and an id as a serialised example."""
    import tensorflow as tf

    values = feature if isinstance(feature, list) else feature.tolist()
    fields = {
        "feature": tf.train.Feature(float_list=tf.train.FloatList(value=values)),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString())
