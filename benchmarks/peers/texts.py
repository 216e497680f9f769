"""The peers for texts: python -m benchmarks.peers.texts PEER --images CSV --output DIR --model SAVEDMODEL.

loop: the SavedModel on batches of 32. tf_data: the frozen model on batches of 16, a thread per core. run_inference:
Beam's, with the frozen model on threads of the local runner. mltransform: Beam's own transform for texts by TF Hub.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference

from beam_job.runtime.threadmap import map_in_order
from benchmarks.peers.common import (
    BATCH,
    CORES,
    arguments,
    frozen,
    load_saved,
    pack,
    single_threaded,
    write_examples,
)

Row = tuple[str, str, int]
BEAM = ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", f"--direct_num_workers={CORES}"]


def read_table(path: str) -> list[Row]:
    """Id, text and label of each row."""
    with open(path, newline="") as file:
        return [(row["id"], row["text"], int(row["label"])) for row in csv.DictReader(file)]


def load(path: str) -> Any:
    """The SavedModel, with the operations that it has."""
    import tensorflow_text  # noqa: F401

    return load_saved(path)


def load_frozen(path: str) -> Callable[[Any], Any]:
    """The frozen model, for one thread per call."""
    tf = single_threaded(CORES)
    model = load(path)
    call = frozen(lambda texts: model(texts), tf.TensorSpec([None], tf.string))
    return lambda texts, model=model: call(texts)  # the model holds the tables


def loop(args: Any) -> None:
    """The tutorial's loop."""
    model, rows = load(args.model), read_table(args.images)
    import tensorflow as tf

    def features() -> Iterator[tuple[Any, int, str]]:
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            answer = model(tf.constant([text for _, text, _ in batch])).numpy()
            yield from ((feature, label, name) for feature, (name, _, label) in zip(answer, batch, strict=True))

    write_examples(Path(args.output, "features.tfrecord"), features())


def tf_data(args: Any) -> None:
    """tf.data with prefetching, and the frozen model on a thread per core."""
    model, rows = load_frozen(args.model), read_table(args.images)
    import tensorflow as tf

    texts = tf.data.Dataset.from_tensor_slices([text for _, text, _ in rows]).batch(BATCH).prefetch(2)

    def features() -> Iterator[tuple[Any, int, str]]:
        remaining = iter(rows)
        with ThreadPoolExecutor(CORES) as pool:
            for answer in map_in_order(lambda batch: model(batch).numpy(), texts, pool, CORES + 1):
                for feature in answer:
                    name, _, label = next(remaining)
                    yield feature, label, name

    write_examples(Path(args.output, "features.tfrecord"), features())


class FrozenModelHandler(ModelHandler[str, PredictionResult, Any]):
    """Runs the frozen model on batches of texts."""

    def __init__(self, model: str) -> None:
        self._model = model

    def load_model(self) -> Any:
        return load_frozen(self._model)

    def run_inference(self, batch: Sequence[str], model: Any, inference_args: Any = None) -> Iterable[Any]:
        import tensorflow as tf

        return [PredictionResult(None, feature) for feature in model(tf.constant(batch)).numpy()]

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": BATCH, "max_batch_size": BATCH}


def run_inference(args: Any) -> None:
    """Beam's RunInference."""
    with beam.Pipeline(argv=BEAM) as pipeline:
        (
            pipeline
            | beam.Create(read_table(args.images))
            | beam.Reshuffle()
            | beam.Map(lambda row: ((row[0], row[2]), row[1]))
            | RunInference(KeyedModelHandler(FrozenModelHandler(args.model)))
            | beam.Map(lambda pair: pack(pair[1].inference, pair[0][1], pair[0][0]))
            | beam.io.WriteToTFRecord(f"{args.output}/features", file_name_suffix=".tfrecord")
        )


def mltransform(args: Any) -> None:
    """Beam's MLTransform."""
    import tensorflow_text  # noqa: F401 - the model has its operations
    from apache_beam.ml.transforms.base import MLTransform
    from apache_beam.ml.transforms.embeddings.tensorflow_hub import TensorflowHubTextEmbeddings

    rows = [{"id": name, "text": text, "label": label} for name, text, label in read_table(args.images)]
    embedding = TensorflowHubTextEmbeddings(
        hub_url=args.model, columns=["text"], min_batch_size=BATCH, max_batch_size=32
    )
    with tempfile.TemporaryDirectory() as folder, beam.Pipeline(argv=BEAM) as pipeline:
        (
            pipeline
            | beam.Create(rows)
            | beam.Reshuffle()
            | MLTransform(write_artifact_location=folder).with_transform(embedding)
            | beam.Map(lambda row: pack(row["text"], row["label"], row["id"]))
            | beam.io.WriteToTFRecord(f"{args.output}/features", file_name_suffix=".tfrecord")
        )


PEERS = {"loop": loop, "tf_data": tf_data, "run_inference": run_inference, "mltransform": mltransform}

if __name__ == "__main__":
    peer = sys.argv.pop(1)
    PEERS[peer](arguments())
