"""The tutorial's loop, a common starting point: load the SavedModel, decode, predict in batches of 32, write."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.peers.common import arguments, decode, read_list, write_examples


def main() -> None:
    """Runs the peer."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    args = arguments()
    rows = read_list(args.images)
    model = tf.saved_model.load(args.model)

    def features() -> object:
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            pixels = tf.stack([decode(tf.io.read_file(path)) for path, _ in batch])
            for feature, (path, label) in zip(model(pixels, training=False).numpy(), batch, strict=True):
                yield feature, label, path

    write_examples(Path(args.output, "features.tfrecord"), features())


if __name__ == "__main__":
    main()
