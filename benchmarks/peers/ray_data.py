"""Ray Data: an actor per core decodes and runs the frozen model on one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.peers.common import BATCH, CORES, arguments, decode, load_model, read_list, write_examples


class Extractor:
    """Decodes and runs the model."""

    def __init__(self, model: str, precision: str, policy: str) -> None:
        self._model, self._policy = load_model(model, precision, 1), policy

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        pixels = tf.stack([decode(tf.io.read_file(str(path)), self._policy) for path in batch["path"]])
        return {"path": batch["path"], "label": batch["label"], "feature": self._model(pixels).numpy()}


def main() -> None:
    """Runs the peer."""
    args = arguments()
    rows = read_list(args.images)
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    items = [{"path": path, "label": label} for path, label in rows]
    results = ray.data.from_items(items, override_num_blocks=4 * CORES).map_batches(
        Extractor,
        fn_constructor_args=(args.model, args.precision, args.decode),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=CORES),
        num_cpus=1,
    )

    def features() -> object:
        for batch in results.iter_batches(batch_size=256):
            yield from zip(np.asarray(batch["feature"]), batch["label"], batch["path"], strict=True)

    write_examples(Path(args.output, "features.tfrecord"), ((f, int(label), str(p)) for f, label, p in features()))


if __name__ == "__main__":
    main()
