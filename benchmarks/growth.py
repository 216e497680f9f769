"""Measures how the cost grows with the number of images: an engine that does nothing, and refs to one tiny image.

python -m benchmarks.growth [--counts 1000 10000 100000] prints, for each number of images, the milliseconds per image,
the total time without imports and loading, and the peak memory. Each number runs in a separate process.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from apache_beam.utils.shared import Shared
from PIL import Image

from beam_job.beam import runners
from beam_job.beam.graph import build_pipeline
from beam_job.core.options import ExtractOptions
from beam_job.core.records import Float32Array
from beam_job.engines.base import FP32, EngineChoice
from beam_job.engines.registry import ENGINES
from beam_job.extraction.config import make_config
from beam_job.extraction.preparation import Preparation
from beam_job.inputs.selection import open_source
from beam_job.modalities.base import Batch
from beam_job.models.frozen import FrozenModel
from beam_job.models.spec import describe_model
from beam_job.runtime.registry import Entry

_DIMENSION = 1280


class NullEngine:
    """Returns zeros."""

    batch_sizes: ClassVar[Mapping[str, int]] = {FP32: 8}
    needs_fixed_shape: ClassVar[bool] = False

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        self._zeros = np.zeros((batch_size, _DIMENSION), np.float32)

    def run(self, batch: Batch) -> Mapping[str, Float32Array]:
        return {"feature": self._zeros[: len(batch)]}


def run_once(count: int, work: Path) -> dict[str, float]:
    """Extracts ``count`` images in this process."""
    start = time.perf_counter()
    ENGINES.entries["null"] = Entry("benchmarks.growth:NullEngine")
    work.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(work / "tiny.jpg")
    rows = "".join(f"{work / 'tiny.jpg'},{number},{number % 10}\n" for number in range(count))
    (work / "images.csv").write_text(f"uri,id,label\n{rows}")
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    options = ExtractOptions.of(input=str(work / "images.csv"), output=str(output))
    config = make_config(
        describe_model(options.model), EngineChoice("null", batch_size=NullEngine.batch_sizes[FP32]), options
    )
    preparation = Preparation(options, open_source(options.source.input), [], None, [], None, config)
    beam_options = runners.beam_options([])
    run_start = time.perf_counter()
    build_pipeline(preparation, Shared(), beam_options).run().wait_until_finish()
    return {
        "start": run_start - start,
        "seconds": time.perf_counter() - run_start,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def main() -> None:
    """Measures each number of images in a separate process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--work", default="build/growth")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_once(args.one, Path(args.work).resolve())))
        return
    for count in args.counts:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(count), "--work", args.work]
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        per_image = result["seconds"] * 1000 / count
        print(
            f"{count:9,} images  {per_image:6.3f} ms per image  "
            f"{result['seconds']:7.1f} s  {result['megabytes']:6.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
