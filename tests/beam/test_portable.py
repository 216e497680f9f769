"""Runs through Beam's portability layer, which Flink and all other runners outside this process use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beam_job
from beam_job.core import naming
from beam_job.core.errors import InputError
from tests.support.datasets import comparable_files
from tests.support.portable import portable_runner
from tests.support.required import skip_or_fail

LAUNCH = Path(__file__).parent.parent.parent / "launch"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with portable_runner(tmp_path_factory.mktemp("logs")) as options:
        yield options


def test_the_dataset_equals_that_of_a_local_run(few: Path, tmp_path: Path, portable: list[str]) -> None:
    result = beam_job.extract(str(few), str(tmp_path / "out"), num_shards=4, beam_options=portable)
    assert (result.examples, result.records) == (40, 40)
    beam_job.extract(str(few), str(tmp_path / "local"), num_shards=4)
    assert comparable_files(tmp_path / "out") == comparable_files(tmp_path / "local")


def test_a_run_is_resumed(few: Path, tmp_path: Path, portable: list[str]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(few), str(output), num_shards=4, beam_options=portable)
    expected = comparable_files(output)
    for path in sorted(output.glob("receipts/*.json"))[::2]:
        path.unlink()
    (output / naming.SUCCESS).unlink()
    beam_job.extract(str(few), str(output), num_shards=4, resume=True, beam_options=portable)
    assert comparable_files(output) == expected


def test_an_error_in_a_worker_is_reported_in_one_sentence(few: Path, tmp_path: Path, portable: list[str]) -> None:
    manifest = tmp_path / "images.csv"
    manifest.write_text(f"uri,id\n{few}/cat/cat-0000.jpg,a\n{few}/cat/cat-0001.jpg,a\n")
    with pytest.raises(InputError, match="found repeated: 'a'"):
        beam_job.extract(str(manifest), str(tmp_path / "out"), beam_options=portable)


def run_launcher(launcher: str, few: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Runs a launcher on the 40 photographs."""
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    command = [LAUNCH / launcher, few, output, "--num_shards=4", "--worker_threads=1"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("launcher", "tool", "unavailable"),
    [("prism.sh", "go", "go: "), ("spark.sh", "mvn", "fetch.py: Maven has neither")],
    ids=["prism", "spark"],
)
def test_launchers_give_the_dataset_of_a_local_run(
    few: Path, tmp_path: Path, launcher: str, tool: str, unavailable: str
) -> None:
    if not shutil.which(tool):
        skip_or_fail(f"{launcher} needs {tool}")
    done = run_launcher(launcher, few, tmp_path / "out")
    if done.returncode and unavailable in done.stderr:
        skip_or_fail(done.stderr[-300:])
    assert done.returncode == 0, done.stderr
    beam_job.extract(str(few), str(tmp_path / "local"), num_shards=4)
    assert comparable_files(tmp_path / "out") == comparable_files(tmp_path / "local")
