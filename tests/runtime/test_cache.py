import os
import threading
from pathlib import Path

import pytest

from beam_job.core.errors import UsageError
from beam_job.runtime.cache import CACHE_VARIABLE, cache_root, cached_directory


@pytest.fixture(autouse=True)
def separate_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"content")


def never(folder: Path) -> None:
    raise AssertionError("the entry was created twice")


def test_an_entry_is_created_once() -> None:
    first = cached_directory("kind", "key", fill)
    assert (first / "weights").read_bytes() == b"content"
    assert cached_directory("kind", "key", never) == first


def test_a_damaged_entry_is_created_again() -> None:
    entry = cached_directory("kind", "key", fill)
    (entry / "weights").write_bytes(b"contend")
    assert (cached_directory("kind", "key", fill) / "weights").read_bytes() == b"content"


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached_directory("kind", "key", fail)
    assert [path.name for path in (tmp_path / "kind").iterdir() if path.is_dir()] == []
    assert (cached_directory("kind", "key", fill) / "weights").exists()


def test_concurrent_callers_wait_for_one_creation() -> None:
    created: list[int] = []
    barrier = threading.Barrier(4, timeout=30)

    def create(folder: Path) -> None:
        created.append(1)
        fill(folder)

    def call() -> None:
        barrier.wait()
        cached_directory("kind", "key", create)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert created == [1]


def test_the_location_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "beam_job"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path(os.path.expanduser("~")) / ".cache" / "beam_job"


def test_a_cache_that_cannot_be_written_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.delenv("BEAM_JOB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot be written .* set BEAM_JOB_CACHE to a directory"):
        cached_directory("kind", "key", lambda folder: None)
