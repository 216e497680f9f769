"""Whole directories: copied to and from this machine, and their digests."""

from __future__ import annotations

import hashlib
import os
import shutil

from beam_job.runtime.storage.base import COPY_BYTES
from beam_job.runtime.storage.files import list_files, new_file, open_read
from beam_job.runtime.storage.paths import join, relative


def copy_to_local(source: str, target: str) -> None:
    """Copies a directory from any filesystem to a local directory that does not exist yet."""
    found = False
    for info in list_files(source):
        place = os.path.normpath(os.path.join(target, relative(info.path, source)))
        if not place.startswith(os.path.abspath(target) + os.sep):
            raise OSError(f"{info.path} would be copied outside {target}")
        found = True
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open_read(info.path) as reader, open(place, "xb") as writer:
            shutil.copyfileobj(reader, writer, COPY_BYTES)
    if not found:
        raise FileNotFoundError(f"there is nothing at {source}")


def copy_from_local(source: str, target: str, last: str) -> None:
    """Copies a local directory to any filesystem; each file appears whole, and one of them after all others.

    Args:
      source: The local directory.
      target: Where its files go; existing files with the same names are replaced.
      last: The path, within the directory, of the file whose presence says that the rest is there.
    """
    paths = sorted(relative(info.path, source) for info in list_files(source))
    for path in sorted(paths, key=lambda path: path == last):
        with open_read(join(source, path)) as reader, new_file(join(target, path)) as writer:
            shutil.copyfileobj(reader, writer, COPY_BYTES)


def directory_digest(root: str) -> str:
    """SHA-256, in hexadecimal, over the names and contents of all files below a local directory."""
    digest = hashlib.sha256()
    for path in sorted(info.path for info in list_files(root)):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256")
        digest.update(f"{relative(path, root)}\0{content.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
