"""Failing object stores, full disks, and targets that disappear."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.api_core.exceptions
import google.auth.exceptions
import pytest
import requests
import urllib3
from apache_beam.io.filesystem import BeamIOError

import beam_job
from beam_job.core import naming
from beam_job.core.errors import JobFailedError
from beam_job.core.metrics import RETRIES
from beam_job.dataset import commit, target
from beam_job.runtime.retries import TransientError, UnreachableError, impatient, python_errors, with_retries
from tests.support.bucket import Bucket
from tests.support.datasets import comparable_files
from tests.support.required import REQUIRED
from tests.support.unreliable import FAULTS, unreliable

KILLS = max(2, int(os.environ.get("BEAM_JOB_KILLS", "0")) // 10)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (google.api_core.exceptions.ServiceUnavailable("busy"), TransientError),
        (google.api_core.exceptions.TooManyRequests("slow down"), TransientError),
        (requests.exceptions.ConnectionError("gone"), TransientError),
        (requests.exceptions.ChunkedEncodingError("half"), TransientError),
        (requests.exceptions.ReadTimeout("late"), TransientError),
        (urllib3.exceptions.ProtocolError("reset"), TransientError),
        (http.client.IncompleteRead(b"half"), TransientError),
        (ConnectionResetError(errno.ECONNRESET, "reset"), TransientError),
        (google.auth.exceptions.TransportError("gone", retryable=True), TransientError),
        (BeamIOError("many", {"gs://a/b": google.api_core.exceptions.BadGateway("x")}), TransientError),
        (google.api_core.exceptions.NotFound("none"), FileNotFoundError),
        (BeamIOError("many", {"gs://a/b": google.api_core.exceptions.NotFound("x")}), FileNotFoundError),
        (google.api_core.exceptions.Forbidden("no"), PermissionError),
        (google.api_core.exceptions.Unauthorized("who?"), PermissionError),
        (google.api_core.exceptions.BadRequest("what?"), OSError),
        (google.auth.exceptions.DefaultCredentialsError("none"), OSError),
        (ValueError("no such scheme"), OSError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_client_errors_become_builtin_errors(error: Exception, expected: type[OSError]) -> None:
    with pytest.raises(OSError) as caught, python_errors("gs://a/b"):
        raise error
    assert type(caught.value) is expected


def test_an_error_of_the_operating_system_keeps_its_errno() -> None:
    with pytest.raises(OSError) as caught, python_errors("gs://a/b"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def call() -> str:
        calls.append(len(calls))
        if len(calls) <= times:
            raise error
        return "done"

    return call, calls


def test_transient_errors_are_retried_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    RETRIES.take()
    call, calls = failing(3, TransientError("busy"))
    assert with_retries(call)() == "done"
    assert (len(calls), RETRIES.take()) == (4, 3)


def test_the_number_of_retries_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    call, calls = failing(100, TransientError("busy"))
    with pytest.raises(TransientError):
        with_retries(call)()
    assert len(calls) == 8
    assert all(pause <= 0.5 * 2**number for number, pause in enumerate(pauses))


@pytest.mark.parametrize(
    ("error", "attempts"), [(UnreachableError("nowhere"), 3), (TransientError("busy"), 8)], ids=["unreachable", "busy"]
)
def test_who_waits_for_a_service_that_cannot_be_reached_is_told_soon(
    error: OSError, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    for waits, expected in ((True, attempts), (False, 8)):
        call, calls = failing(100, error)
        with impatient() if waits else contextlib.nullcontext(), pytest.raises(type(error)):
            with_retries(call)()
        assert len(calls) == expected


@pytest.mark.parametrize("error", [FileNotFoundError("none"), PermissionError("no"), OSError("other")], ids=repr)
def test_permanent_errors_are_not_retried(error: OSError) -> None:
    call, calls = failing(100, error)
    with pytest.raises(OSError):
        with_retries(call)()
    assert len(calls) == 1


@pytest.fixture(scope="module")
def model(small_model: dict[str, str]) -> list[str]:
    return [
        *(f"--{name}={value}" for name, value in small_model.items()),
        "--engine=openvino",
        "--num_shards=6",
        "--max_error_rate=0.1",
    ]


def extract(arguments: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beam_job", "extract", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **settings)


def download(bucket: Bucket, prefix: str, folder: Path) -> Path:
    """Downloads a dataset in the bucket to a directory."""
    for name in bucket.list(prefix + "/"):
        path = folder / name.removeprefix(prefix + "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))
    return folder


@pytest.mark.heavy
def test_a_store_that_fails_every_fifth_request(bucket: Bucket, few: Path, tmp_path: Path, model: list[str]) -> None:
    """Runs that are killed and resumed on a failing store give the dataset of an undisturbed run, byte for byte."""
    for path in few.rglob("*.jpg"):
        bucket.write(f"unreliable/in/{path.relative_to(few)}", path.read_bytes())
    source = f"--input={bucket.url('unreliable/in')}"
    undisturbed = extract([source, f"--output={bucket.url('unreliable/undisturbed')}", *model])
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected = comparable_files(download(bucket, "unreliable/undisturbed", tmp_path / "undisturbed"))
    rng = random.Random(0)
    with unreliable(bucket.environment["STORAGE_EMULATOR_HOST"], share=0.2) as proxy:
        environment = {**os.environ, **bucket.environment, "STORAGE_EMULATOR_HOST": proxy.url}
        for number in range(KILLS):
            arguments = [source, f"--output={bucket.url(f'unreliable/out-{number}')}", *model]
            process = subprocess.Popen(
                [sys.executable, "-m", "beam_job", "extract", *arguments],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            min_files = rng.randint(1, 7)
            while process.poll() is None and len(bucket.list(f"unreliable/out-{number}/")) < min_files:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            resumed = extract([*arguments, "--resume", "--json"], env=environment)
            assert resumed.returncode == 0, resumed.stderr
            found = download(bucket, f"unreliable/out-{number}", tmp_path / f"out-{number}")
            assert comparable_files(found) == expected
    assert all(proxy.outcomes[fault] for fault in FAULTS)
    assert json.loads(resumed.stdout)["retries"] > 0


def private_mounts() -> bool:
    command = shutil.which("unshare")
    return bool(command) and subprocess.run([command, "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not (REQUIRED or private_mounts()), reason="a small disk needs a private mount")
def test_a_full_disk_is_reported_in_one_sentence_and_the_run_can_be_resumed(few: Path, tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    command = f"{sys.executable} -m beam_job extract --input={few} --output={disk}/out --num_shards=8"
    script = f"""
        mount -t tmpfs -o size=120k none {disk}
        {command}; echo "code $?"
        mount -o remount,size=50m {disk}
        {command} --resume > /dev/null && cp -r {disk}/out {copy}
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert "code 1" in done.stdout
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("beam-job: There is no space left for train-0000")
    assert sentence.endswith("Free some space, then run again with --resume: committed shards are kept.")
    beam_job.extract(str(few), str(tmp_path / "undisturbed"), num_shards=8)
    assert comparable_files(copy) == comparable_files(tmp_path / "undisturbed")


def test_a_deleted_target_is_reported_in_one_sentence_and_the_run_can_be_resumed(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, receipts = tmp_path / "out", []
    original = commit.write_receipt

    def delete_target_after_third(folder: str, *rest: Any) -> None:
        original(folder, *rest)
        receipts.append(folder)
        if len(receipts) == 3:
            shutil.rmtree(folder)

    monkeypatch.setattr(commit, "write_receipt", delete_target_after_third)
    with pytest.raises(JobFailedError, match="run again with --resume"):
        beam_job.extract(str(few), str(output), num_shards=6)
    monkeypatch.undo()
    beam_job.extract(str(few), str(output), num_shards=6, resume=True)
    beam_job.extract(str(few), str(tmp_path / "undisturbed"), num_shards=6)
    assert comparable_files(output) == comparable_files(tmp_path / "undisturbed")
    assert (output / naming.SUCCESS).exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "full"),
            "There is no space left for a.tfrecord at /out. Free some space, then run again",
        ),
        (OSError(errno.EROFS, "Read-only file system"), "a.tfrecord can no longer be written to /out"),
        (PermissionError("gs://b/a: 403"), "a.tfrecord can no longer be written to /out"),
        (TransientError("gs://b/a: 503"), "a.tfrecord cannot be written to /out"),
    ],
)
def test_a_failed_write_is_reported_in_one_sentence(error: OSError, message: str) -> None:
    with pytest.raises(JobFailedError) as caught, target.writing("/out", "a.tfrecord"):
        raise error
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("then run again with --resume: committed shards are kept.")
