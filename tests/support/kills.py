"""Runs that are killed at points of their time, and resumed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from beam_job.core import naming
from tests.support.datasets import comparable_files

# Number of points at which a run is killed. `make test-all` sets BEAM_JOB_KILLS=50.
KILLS = int(os.environ.get("BEAM_JOB_KILLS", "4"))


def committed(output: Path) -> int:
    """The number of shards of an output that have their receipts."""
    return len(list(output.glob(f"{naming.RECEIPTS}/*.json")))


def check_killed_runs(arguments: Sequence[str], folder: Path, kills: int) -> None:
    """Checks that runs of ``extract`` that are killed at any point give the same bytes when they are resumed.

    Args:
      arguments: Those of ``extract``, without the output; more than one shard.
      folder: An empty directory.
      kills: The number of points.
    """
    command = [sys.executable, "-m", "beam_job", "extract", *arguments]
    for name in ("first", "complete"):  # the first run fills the cache
        start = time.monotonic()
        subprocess.run([*command, f"--output={folder / name}"], check=True, capture_output=True, timeout=300)
        duration = time.monotonic() - start
    expected = comparable_files(folder / "complete")
    shard_count = committed(folder / "complete")
    rng, receipt_counts = random.Random(0), set()
    for number in range(kills):
        output = folder / f"killed-{number}"
        process = subprocess.Popen(
            [*command, f"--output={output}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # The time of the commits is a small part of a run's: a point is so many shards that are committed, and then
        # a moment, which is long enough for most of the run's start where no shard is waited for.
        wanted = number * shard_count // kills
        while committed(output) < wanted and process.poll() is None:
            time.sleep(0.001)
        moment = rng.uniform(0, 0.1) if wanted else rng.uniform(0.2, 0.7) * duration
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        receipt_counts.add(committed(output))
        resume = [*command, f"--output={output}", "--resume"]
        subprocess.run(resume, check=True, capture_output=True, timeout=120)
        assert comparable_files(output) == expected, f"killed at point {number}"
        shutil.rmtree(output)
    assert len(receipt_counts) > 1, "all runs were killed at the same point"
