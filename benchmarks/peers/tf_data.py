"""tf.data with parallel decoding and prefetch, in front of the frozen model on a thread for each core."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from beam_job.runtime.threadmap import map_in_order
from benchmarks.peers.common import BATCH, CORES, arguments, decode, load_model, read_list, write_examples


def main() -> None:
    """Runs the peer."""
    given = arguments()
    rows = read_list(given.images)
    model = load_model(given.model, given.precision, CORES)
    import tensorflow as tf

    paths = tf.data.Dataset.from_tensor_slices([path for path, _ in rows])
    pictures = paths.map(
        lambda path: decode(tf.io.read_file(path), given.decode), num_parallel_calls=CORES, deterministic=True
    )

    # Nothing here is left to be tuned, and TensorFlow 2.21 can stall for seconds when it frees an iterator that is.
    options = tf.data.Options()
    options.autotune.enabled = False
    pictures = pictures.with_options(options)

    def features() -> object:
        done = iter(rows)
        # As a map of tf.data the model was slower than this by a sixth.
        with ThreadPoolExecutor(CORES) as pool:
            batches = pictures.batch(BATCH).prefetch(2)
            for found in map_in_order(lambda batch: model(batch).numpy(), batches, pool, CORES + 1):
                for feature in found:
                    path, label = next(done)
                    yield feature, label, path

    write_examples(Path(given.output, "features.tfrecord"), features())


if __name__ == "__main__":
    main()
