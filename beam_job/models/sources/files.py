"""Files of models on this machine: those of other filesystems are copied to the cache, once per version."""

from __future__ import annotations

import hashlib
from pathlib import Path

from beam_job.core.errors import ModelError
from beam_job.models.sources.other_formats import of_content
from beam_job.runtime import storage
from beam_job.runtime.cache import cache_key, cached_directory

_START = 256  # bytes that tell what a file is


def local_file(handle: str) -> tuple[Path, str]:
    """A file from any filesystem on this machine, and its SHA-256 in hexadecimal.

    Raises:
      ModelError: there is none, or it cannot be read.
    """
    path = storage.absolute(handle)
    try:
        if not storage.is_local(path):
            path = str(_copy_file(path))
        with open(path, "rb") as file:
            if what := of_content(file.read(_START)):
                raise ModelError(f"Expected a model or its weights at {handle}, found {what}.")
            file.seek(0)
            return Path(path), hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ModelError(f"There is no file at {handle}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"The file {handle} cannot be read: {error}") from None


def local_directory(handle: str) -> Path:
    """A directory from any filesystem on this machine.

    Raises:
      FileNotFoundError: there is none on that filesystem.
      OSError, ValueError: it cannot be copied.
    """
    root = storage.absolute(handle)
    if storage.is_local(root):
        return Path(root)
    versions = sorted(f"{info.path}\0{info.version}" for info in storage.list_files(root))
    return cached_directory(
        "copied", cache_key([root, *versions]), lambda folder: storage.copy_to_local(root, str(folder))
    )


def _copy_file(path: str) -> Path:
    info = next(storage.match(path), None)
    if info is None:
        raise FileNotFoundError(path)
    name = path.rpartition("/")[2]

    def make(folder: Path) -> None:
        (folder / name).write_bytes(storage.read_bytes(path))

    return cached_directory("copied", cache_key([path, info.version]), make) / name
