"""Measures the ceiling: decoding and the engine alone on all cores, without reading, writing or committing.

python -m benchmarks.ceiling --images LIST [--precision bf16] [--decode fast] prints images/s as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.engines.base import EngineChoice
from beam_job.engines.registry import ENGINES
from beam_job.engines.selection import load_engine
from beam_job.models.spec import describe_model
from beam_job.runtime.allocation import keep_freed_memory
from beam_job.runtime.cores import available_cores
from benchmarks.peers.common import read_list


def main() -> None:
    """Measures the rate and prints it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--decode", default="exact")
    args = parser.parse_args()
    modality_options = DecodeOptions(decode=args.decode)
    spec, cores = describe_model(ModelOptions(), modality_options), available_cores()
    size = ENGINES.get(args.engine).batch_sizes[args.precision]
    engine = load_engine(EngineChoice(args.engine, args.precision, size), spec, cores)
    keep_freed_memory(cores)
    contents = [Path(path).read_bytes() for path, _ in read_list(args.images)]
    batches = [contents[start : start + size] for start in range(0, len(contents), size)]

    def extract(batch: list[bytes]) -> None:
        engine.run(spec.batch([spec.modality.prepare(content) for content in batch]))

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(extract, batches[: 4 * cores]))
        start = time.perf_counter()
        list(pool.map(extract, batches))
        seconds = time.perf_counter() - start
    print(json.dumps({"examples_per_second": len(contents) / seconds}))


if __name__ == "__main__":
    main()
