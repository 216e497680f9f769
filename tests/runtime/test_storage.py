import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.runtime import storage
from beam_job.runtime.storage import copying
from beam_job.runtime.storage.gcs import _once
from tests.support.bucket import Bucket

Resolve = Callable[[str], str]


@pytest.fixture(params=["local", "bucket"])
def resolve(request: pytest.FixtureRequest, tmp_path: Path) -> Resolve:
    """Resolves paths below an empty directory, on the local disk and in a bucket. Both pass the same tests."""
    if request.param == "local":
        return lambda path: storage.join(str(tmp_path), path)
    bucket: Bucket = request.getfixturevalue("bucket")
    return lambda path: bucket.url(f"{tmp_path.name}/{path}")


def names(root: str, recursive: bool = True) -> list[str]:
    return sorted(storage.relative(info.path, root) for info in storage.list_files(root, recursive))


def test_bytes_are_read_as_written(resolve: Resolve) -> None:
    path = resolve("folder/a.bin")
    data = bytes(range(256)) * 5000
    assert not storage.exists(path)
    storage.write_bytes(path, data)
    assert storage.exists(path)
    assert storage.read_bytes(path) == data
    assert storage.read_range(path, 1000, 300) == data[1000:1300]
    assert storage.read_range(path, len(data) - 3, 300) == data[-3:]
    storage.write_bytes(path, b"other")
    assert storage.read_bytes(path) == b"other"


def test_a_gz_suffix_does_not_trigger_decompression(resolve: Resolve) -> None:
    path = resolve("a.gz")
    storage.write_bytes(path, b"not gzip")
    assert storage.read_bytes(path) == b"not gzip"


def test_missing_files(resolve: Resolve) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(resolve("nothing"))
    assert not storage.is_directory(resolve("nothing"))
    assert names(resolve("nothing")) == []
    storage.delete([resolve("nothing")])


def test_listing(resolve: Resolve) -> None:
    for name in ("a.jpg", "b/c.jpg", "b/d/e.jpg"):
        storage.write_bytes(resolve(name), b"x")
    root = resolve("").rstrip("/")
    assert storage.is_directory(root)
    assert names(root) == ["a.jpg", "b/c.jpg", "b/d/e.jpg"]
    assert names(root, recursive=False) == ["a.jpg"]
    assert sorted(storage.relative(info.path, root) for info in storage.match(resolve("b/**"))) == [
        "b/c.jpg",
        "b/d/e.jpg",
    ]
    storage.delete([resolve("a.jpg")])
    assert names(root) == ["b/c.jpg", "b/d/e.jpg"]


def test_a_version_changes_with_the_content(resolve: Resolve) -> None:
    path = resolve("a.jpg")
    root = resolve("").rstrip("/")
    storage.write_bytes(path, b"one")
    (before,) = storage.list_files(root)
    storage.write_bytes(path, b"three")
    (after,) = storage.list_files(root)
    assert before.version
    assert before.version != after.version


def test_a_failed_write_creates_no_file(resolve: Resolve) -> None:
    with pytest.raises(RuntimeError), storage.new_file(resolve("a.bin")) as file:
        file.write(b"half")
        raise RuntimeError
    assert names(resolve("").rstrip("/")) == []


def test_a_failed_write_keeps_the_previous_file(resolve: Resolve) -> None:
    storage.write_bytes(resolve("a.bin"), b"before")
    with pytest.raises(RuntimeError), storage.new_file(resolve("a.bin")) as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.read_bytes(resolve("a.bin")) == b"before"
    assert names(resolve("").rstrip("/")) == ["a.bin"]


def test_a_directory_is_copied_to_the_local_disk(resolve: Resolve, tmp_path: Path) -> None:
    storage.write_bytes(resolve("model/saved_model.pb"), b"graph")
    storage.write_bytes(resolve("model/variables/variables.index"), b"index")
    target = tmp_path / "copy"
    storage.copy_to_local(resolve("model"), str(target))
    assert (target / "variables/variables.index").read_bytes() == b"index"
    with pytest.raises(FileNotFoundError):
        storage.copy_to_local(resolve("other"), str(tmp_path / "nothing"))


def test_a_directory_is_copied_with_its_marker_file_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "deep/down/b.txt", "z.txt"):
        storage.write_bytes(str(tmp_path / "from" / name), name.encode())
    written: list[str] = []
    new_file = storage.new_file

    def recording_new_file(path: str) -> Any:
        written.append(storage.relative(path, str(tmp_path / "to")))
        return new_file(path)

    monkeypatch.setattr(copying, "new_file", recording_new_file)
    storage.copy_from_local(str(tmp_path / "from"), str(tmp_path / "to"), last="a.txt")
    assert written == ["deep/down/b.txt", "z.txt", "a.txt"]
    assert (tmp_path / "to" / "deep" / "down" / "b.txt").read_bytes() == b"deep/down/b.txt"


def test_an_unknown_file_system_raises_a_builtin_error() -> None:
    with pytest.raises((OSError, ValueError)):
        storage.read_bytes("nosuchscheme://a/b")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="the system has no symbolic links")
def test_links_to_directories_are_followed_without_cycles(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "cycle").symlink_to(root)
    (root / "dangling").symlink_to(tmp_path / "nothing")
    assert names(str(root)) == ["dangling", "link/a.jpg"]


def test_a_local_name_with_wildcards_is_taken_literally(tmp_path: Path) -> None:
    folder = tmp_path / "a[0-9]*"
    folder.mkdir()
    (folder / "b?.jpg").write_bytes(b"x")
    (tmp_path / "a1").mkdir()
    (tmp_path / "a1/c.jpg").write_bytes(b"x")
    assert names(str(folder)) == ["b?.jpg"]


@given(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}", fullmatch=True))
def test_relative_inverts_join(path: str) -> None:
    for root in ("/data", "gs://bucket/data", "gs://bucket"):
        assert storage.relative(storage.join(root, path), root) == path


def test_a_digest_covers_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_bytes(b"1")
    first = storage.directory_digest(str(tmp_path / "a"))
    assert first == storage.directory_digest(str(tmp_path / "a"))
    (tmp_path / "a/one").rename(tmp_path / "a/two")
    renamed = storage.directory_digest(str(tmp_path / "a"))
    (tmp_path / "a/two").write_bytes(b"2")
    assert len({first, renamed, storage.directory_digest(str(tmp_path / "a"))}) == 3


def test_a_singleton_is_created_once_under_concurrency() -> None:
    barrier, calls = threading.Barrier(8), []

    @_once
    def create() -> object:
        calls.append(1)
        return object()

    def call(_: int) -> object:
        barrier.wait()
        return create()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(call, range(8)))) == len(calls) == 1
