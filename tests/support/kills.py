"""Runs that are killed at points of their time, and resumed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.datasets import comparable_files

# Number of points at which a run is killed. `make test-all` sets BEAM_JOB_KILLS=50.
KILLS = int(os.environ.get("BEAM_JOB_KILLS", "4"))


def check_killed_runs(arguments: Sequence[str], folder: Path, kills: int) -> None:
    """Checks that runs of ``extract`` that are killed at any point give the same bytes when they are resumed.

    Args:
      arguments: Those of ``extract``, without the output; more than one shard.
      folder: An empty directory.
      kills: The number of points.
    """
    command = [sys.executable, "-m", "beam_job", "extract", *arguments]
    durations = []
    for name in ("first", "complete"):  # the first run fills the cache
        start = time.monotonic()
        subprocess.run([*command, f"--output={folder / name}"], check=True, capture_output=True, timeout=300)
        durations.append(time.monotonic() - start)
    expected = comparable_files(folder / "complete")
    rng, receipt_counts = random.Random(0), set()
    for number in range(kills):
        output = folder / f"killed-{number}"
        # A run writes nothing in the first third of its time.
        deadline = time.monotonic() + durations[-1] * rng.uniform(0.33, 1.0)
        process = subprocess.Popen(
            [*command, f"--output={output}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        receipt_counts.add(len(list(output.glob("receipts/*.json"))))
        resume = [*command, f"--output={output}", "--resume"]
        subprocess.run(resume, check=True, capture_output=True, timeout=120)
        assert comparable_files(output) == expected, f"killed at point {number}"
        shutil.rmtree(output)
    assert len(receipt_counts) > 1, "all runs were killed at the same point"
