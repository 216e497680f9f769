"""Beam's RunInference with a handler for the frozen model, after a decoding step, on threads of the local runner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference

from benchmarks.peers.common import BATCH, CORES, arguments, decode, load_model, pack, read_list

Row = tuple[str, int]


class FrozenModelHandler(ModelHandler[np.ndarray, PredictionResult, Any]):
    """Runs the frozen model on batches of images."""

    def __init__(self, model: str, precision: str) -> None:
        self._model, self._precision = model, precision

    def load_model(self) -> Any:
        return load_model(self._model, self._precision, CORES)

    def run_inference(self, batch: Sequence[np.ndarray], model: Any, inference_args: Any = None) -> Iterable[Any]:
        import tensorflow as tf

        features = model(tf.constant(np.stack(batch))).numpy()
        return [PredictionResult(None, feature) for feature in features]

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": BATCH, "max_batch_size": BATCH}


def read(row: Row, policy: str) -> tuple[Row, np.ndarray]:
    """A row with its decoded image."""
    import tensorflow as tf

    return row, decode(tf.io.read_file(row[0]), policy).numpy()


def main() -> None:
    """Runs the peer."""
    args = arguments()
    handler = KeyedModelHandler(FrozenModelHandler(args.model, args.precision))
    options = ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", f"--direct_num_workers={CORES}"]
    with beam.Pipeline(argv=options) as pipeline:
        (
            pipeline
            | beam.Create(read_list(args.images))
            | beam.Reshuffle()
            | beam.Map(read, args.decode)
            | RunInference(handler)
            | beam.Map(lambda pair: pack(pair[1].inference, pair[0][1], pair[0][0]))
            | beam.io.WriteToTFRecord(f"{args.output}/features", file_name_suffix=".tfrecord")
        )


if __name__ == "__main__":
    main()
