"""Damaged models end in sentences: a seeded search, in processes that damaged files may kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.models.frozen import freeze_artefact
from beam_job.models.sources.selection import fetch_model

COUNT = int(os.environ.get("BEAM_JOB_MUTATIONS", "300")) // 3


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_damaged_model_is_a_model_or_a_sentence() -> None:
    """In a process of its own: the search forks, which this one, where TensorFlow has run, must not."""
    command = [sys.executable, "-m", "tests.support.fuzz_models", f"--count={COUNT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "a sentence" in done.stdout


def test_reading_a_damaged_file_ends(tmp_path: Path) -> None:
    """An entry of length zero in the heap of texts sends HDF5 round in circles."""
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
    data = bytearray(path.read_bytes())
    length = data.index(b"GCOL") + 24
    data[length : length + 8] = bytes(8)
    path.write_bytes(data)
    options = ModelOptions(model=str(path))
    with pytest.raises(ModelError, match=r"damaged: reading what it says of itself never ends"):
        freeze_artefact(fetch_model(options), options)
