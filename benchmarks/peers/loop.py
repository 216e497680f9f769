"""The tutorial's loop: hub.load, decode, predict in batches of 32, write. What most people start with."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.peers.common import arguments, decode, read_list, write_examples


def main() -> None:
    """Runs the peer."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    given = arguments()
    rows = read_list(given.images)
    model = tf.saved_model.load(given.model)

    def features() -> object:
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            pixels = tf.stack([decode(tf.io.read_file(path)) for path, _ in batch])
            for feature, (path, label) in zip(model(pixels, training=False).numpy(), batch, strict=True):
                yield feature, label, path

    write_examples(Path(given.output, "features.tfrecord"), features())


if __name__ == "__main__":
    main()
