"""Damaged models end in sentences: a seeded search, in processes that damaged files may kill."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COUNT = int(os.environ.get("BEAM_JOB_MUTATIONS", "300")) // 3


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_damaged_model_is_a_model_or_a_sentence() -> None:
    """In a process of its own: the search forks, which this one, where TensorFlow has run, must not."""
    command = [sys.executable, "-m", "tests.support.fuzz_models", f"--count={COUNT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "a sentence" in done.stdout
