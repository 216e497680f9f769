"""Daft: a data frame of paths, an actor per core that decodes and runs the frozen model on one thread."""

from __future__ import annotations

from pathlib import Path

import daft
import numpy as np

from benchmarks.peers.common import BATCH, CORES, arguments, decode, load_model, read_list, write_examples

DIMENSION = 1280


def main() -> None:
    """Runs the peer."""
    given = arguments()
    rows = read_list(given.images)

    @daft.udf(
        return_dtype=daft.DataType.fixed_size_list(daft.DataType.float32(), DIMENSION),
        concurrency=CORES,
        batch_size=BATCH,
    )
    class Extractor:
        """Decodes and runs the model."""

        def __init__(self) -> None:
            self._model = load_model(given.model, given.precision, 1)

        def __call__(self, paths: daft.Series) -> object:
            import tensorflow as tf

            pixels = tf.stack([decode(tf.io.read_file(path), given.decode) for path in paths.to_pylist()])
            return list(self._model(pixels).numpy())

    frame = daft.from_pydict({"path": [path for path, _ in rows], "label": [label for _, label in rows]})
    frame = frame.into_partitions(4 * CORES).with_column("feature", Extractor(daft.col("path")))
    found = frame.to_pydict()
    features = (np.asarray(feature, np.float32) for feature in found["feature"])
    write_examples(Path(given.output, "features.tfrecord"), zip(features, found["label"], found["path"], strict=True))


if __name__ == "__main__":
    main()
