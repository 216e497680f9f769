"""The peers for clips: python -m benchmarks.peers.clips PEER --images LIST --output DIR --model SAVEDMODEL.

All decode with soundfile and resample with soxr, and take the mean of the frames. loop: one clip after the other.
tf_data: decoding and the frozen model on a thread per core. run_inference: Beam's, on threads of the local runner.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import soundfile
import soxr
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference

from beam_job.runtime.threadmap import map_in_order
from benchmarks.clips import MODEL_RATE
from benchmarks.peers.common import (
    CORES,
    arguments,
    frozen,
    load_saved,
    pack,
    read_list,
    single_threaded,
    write_examples,
)
from benchmarks.peers.texts import BEAM


def decode(path: str) -> Any:
    """A clip at the model's rate, float32 [N]."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, MODEL_RATE)


def load_frozen(path: str) -> Callable[[Any], Any]:
    """The mean of the frames by the frozen model, for one thread per call."""
    tf = single_threaded(CORES)
    model = load_saved(path)
    call = frozen(lambda wave: tf.reduce_mean(model(wave), axis=0), tf.TensorSpec([None], tf.float32))
    return lambda wave: call(tf.constant(wave)).numpy()


def loop(args: Any) -> None:
    """The tutorial's loop."""
    model, rows = load_saved(args.model), read_list(args.images)
    features = ((model(decode(path)).numpy().mean(axis=0), label, path) for path, label in rows)
    write_examples(Path(args.output, "features.tfrecord"), features)


def tf_data(args: Any) -> None:
    """tf.data with prefetching, and the frozen model on a thread per core."""
    model, rows = load_frozen(args.model), read_list(args.images)
    import tensorflow as tf

    paths = tf.data.Dataset.from_tensor_slices([path for path, _ in rows])
    waves = paths.map(
        lambda path: tf.numpy_function(lambda name: decode(name.decode()), [path], tf.float32),
        num_parallel_calls=CORES,
        deterministic=True,
    )
    options = tf.data.Options()
    options.autotune.enabled = False

    def features() -> Iterator[tuple[Any, int, str]]:
        remaining = iter(rows)
        with ThreadPoolExecutor(CORES) as pool:
            loaded = waves.with_options(options).prefetch(4).as_numpy_iterator()
            for feature in map_in_order(model, loaded, pool, CORES + 1):
                path, label = next(remaining)
                yield feature, label, path

    write_examples(Path(args.output, "features.tfrecord"), features())


class FrozenModelHandler(ModelHandler[Any, PredictionResult, Any]):
    """Runs the frozen model on clips, one by one."""

    def __init__(self, model: str) -> None:
        self._model = model

    def load_model(self) -> Any:
        return load_frozen(self._model)

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        return [PredictionResult(None, model(np.asarray(wave))) for wave in batch]

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": 1, "max_batch_size": 4}


def run_inference(args: Any) -> None:
    """Beam's RunInference."""
    with beam.Pipeline(argv=BEAM) as pipeline:
        (
            pipeline
            | beam.Create(read_list(args.images))
            | beam.Reshuffle()
            | beam.Map(lambda row: (row, decode(row[0])))
            | RunInference(KeyedModelHandler(FrozenModelHandler(args.model)))
            | beam.Map(lambda pair: pack(pair[1].inference, pair[0][1], pair[0][0]))
            | beam.io.WriteToTFRecord(f"{args.output}/features", file_name_suffix=".tfrecord")
        )


PEERS = {"loop": loop, "tf_data": tf_data, "run_inference": run_inference}

if __name__ == "__main__":
    peer = sys.argv.pop(1)
    PEERS[peer](arguments())
