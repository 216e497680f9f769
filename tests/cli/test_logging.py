"""What a run logs, and where: processes of their own, since logging is a setting of the process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.small_models import save_reusable

# Makes the engine fail on everything but the probe, as a bug would.
_WITH_A_BUG = """
import sys
import numpy as np
from beam_job.cli.main import main
from beam_job.engines.tensorflow import TensorFlowEngine
whole = TensorFlowEngine.run
def run(engine, batch):
    if np.ptp(batch):
        raise ZeroDivisionError("a bug")
    return whole(engine, batch)
TensorFlowEngine.run = run
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def arguments(few: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = save_reusable(tmp_path_factory.mktemp("means") / "model")
    return [
        "extract",
        f"--input={few}",
        f"--model={path}",
        "--input_range=0,1",
        "--engine=tensorflow",
        "--num_shards=2",
    ]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, check=False)


def test_the_log_follows_the_work(arguments: list[str], tmp_path: Path) -> None:
    done = run(["-m", "beam_job", *arguments, f"--output={tmp_path / 'out'}", "--log_level=info"])
    assert done.returncode == 0, done.stderr
    for words in (
        r"INFO beam_job\.beam\.launch: extracting ",
        r"INFO beam_job\.extraction\.preparation: engine tensorflow in fp32, requested",
        r"INFO beam_job\.extraction\.shards: train-0000[01]-of-00002: begins, \d+ examples, 0 carried over",
        r"INFO beam_job\.extraction\.shards: train-0000[01]-of-00002: committed, \d+ records, 0 errors, \d+\.\d s ",
    ):
        assert re.search(words, done.stderr), words
    again = run(["-m", "beam_job", *arguments, f"--output={tmp_path / 'out'}", "--log_level=info", "--resume"])
    assert re.search(r"train-00000-of-00002: already committed, \d+ examples", again.stderr)


def test_other_processes_log_too(arguments: list[str], tmp_path: Path) -> None:
    workers = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    done = run(["-m", "beam_job", *arguments, f"--output={tmp_path / 'out'}", "--log_level=info", *workers])
    assert done.returncode == 0, done.stderr
    words = r"INFO beam_job\.worker: model \S+ loaded in \d+\.\d s: engine tensorflow in fp32, \d threads, batches of 1"
    assert re.search(words, done.stderr)
    assert re.search(r"INFO beam_job\.worker: train-0000[01]-of-00002: committed, ", done.stderr)
    assert "severity:" not in done.stderr


def test_a_quiet_run_logs_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = run(["-m", "beam_job", *arguments, f"--output={tmp_path / 'out'}", "--json"])
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bug_keeps_its_traceback_in_the_log_and_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    done = run(["-c", _WITH_A_BUG, *arguments, f"--output={tmp_path / 'out'}"])
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert 'raise ZeroDivisionError("a bug")' in done.stderr or "ZeroDivisionError: a bug" in done.stderr
    assert re.search(r"ERROR beam_job\.extraction\.shards: train-0000[01]-of-00002 failed", done.stderr)
    assert re.fullmatch(r"beam-job: train-0000[01]-of-00002: ZeroDivisionError: a bug", done.stderr.splitlines()[-1])


@pytest.mark.parametrize("debug", [False, True])
def test_debug_shows_the_traceback_of_a_sentence(arguments: list[str], tmp_path: Path, debug: bool) -> None:
    flags = ["--debug"] if debug else []
    done = run(["-m", "beam_job", *arguments, f"--output={tmp_path / 'out'}", "--labels=/no/where", *flags])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "beam-job: There is no file of labels at '/no/where'."
    assert ("Traceback (most recent call last)" in done.stderr) is debug
