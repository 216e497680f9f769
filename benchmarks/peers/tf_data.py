"""tf.data with parallel decoding and prefetching, and the frozen model on one thread per core."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from beam_job.runtime.threadmap import map_in_order
from benchmarks.peers.common import BATCH, CORES, arguments, decode, load_model, read_list, write_examples


def main() -> None:
    """Runs the peer."""
    args = arguments()
    rows = read_list(args.images)
    model = load_model(args.model, args.precision, CORES)
    import tensorflow as tf

    paths = tf.data.Dataset.from_tensor_slices([path for path, _ in rows])
    images = paths.map(
        lambda path: decode(tf.io.read_file(path), args.decode), num_parallel_calls=CORES, deterministic=True
    )

    # No parameter is left to autotuning, and TensorFlow 2.21 can stall for seconds when it frees an autotuned iterator.
    options = tf.data.Options()
    options.autotune.enabled = False
    images = images.with_options(options)

    def features() -> object:
        remaining = iter(rows)
        # Running the model in a map of tf.data was a sixth slower.
        with ThreadPoolExecutor(CORES) as pool:
            batches = images.batch(BATCH).prefetch(2)
            for batch_features in map_in_order(lambda batch: model(batch).numpy(), batches, pool, CORES + 1):
                for feature in batch_features:
                    path, label = next(remaining)
                    yield feature, label, path

    write_examples(Path(args.output, "features.tfrecord"), features())


if __name__ == "__main__":
    main()
