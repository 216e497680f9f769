"""Daft: a data frame of paths, and an actor per core that decodes and runs the frozen model on one thread."""

from __future__ import annotations

from pathlib import Path

import daft
import numpy as np

from benchmarks.peers.common import BATCH, CORES, arguments, decode, load_model, read_list, write_examples

DIMENSION = 1280


def main() -> None:
    """Runs the peer."""
    args = arguments()
    rows = read_list(args.images)

    @daft.udf(
        return_dtype=daft.DataType.fixed_size_list(daft.DataType.float32(), DIMENSION),
        concurrency=CORES,
        batch_size=BATCH,
    )
    class Extractor:
        """Decodes and runs the model."""

        def __init__(self) -> None:
            self._model = load_model(args.model, args.precision, 1)

        def __call__(self, paths: daft.Series) -> object:
            import tensorflow as tf

            pixels = tf.stack([decode(tf.io.read_file(path), args.decode) for path in paths.to_pylist()])
            return list(self._model(pixels).numpy())

    frame = daft.from_pydict({"path": [path for path, _ in rows], "label": [label for _, label in rows]})
    frame = frame.into_partitions(4 * CORES).with_column("feature", Extractor(daft.col("path")))
    columns = frame.to_pydict()
    features = (np.asarray(feature, np.float32) for feature in columns["feature"])
    write_examples(
        Path(args.output, "features.tfrecord"), zip(features, columns["label"], columns["path"], strict=True)
    )


if __name__ == "__main__":
    main()
