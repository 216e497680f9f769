"""A cache on this machine for what is expensive to make: models that were exported, copied or frozen.

An entry is a directory that one process makes while others wait. It appears whole, with a digest of its content beside
it; an entry that no longer matches its digest is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from beam_job.core.errors import UsageError
from beam_job.runtime import storage

CACHE_VARIABLE = "BEAM_JOB_CACHE"
logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """``$BEAM_JOB_CACHE``, or ``beam_job`` in the user's cache directory (XDG Base Directory Specification)."""
    if configured := os.environ.get(CACHE_VARIABLE):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "beam_job"


def cache_key(identity: Any) -> str:
    """A key for what ``identity``, a value that JSON can hold, describes: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def cached_directory(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The directory of an entry, made by ``make`` when it does not exist or is damaged.

    Args:
      kind: The kind of entry, a directory name.
      key: Identifies the content; different content needs a different key.
      make: Fills the directory that it is given, which is new and empty.

    Returns:
      A directory that only this cache writes to.

    Raises:
      UsageError: the cache cannot be written.
    """
    folder = cache_root() / kind
    place, seal = folder / key, folder / f"{key}.sha256"
    with _locked(folder, key):
        if place.is_dir() and seal.is_file() and seal.read_text().strip() == storage.directory_digest(str(place)):
            logger.debug("%s: found in the cache, %s", kind, place)
            return place
        logger.debug("%s: not in the cache, %s is made", kind, place)
        shutil.rmtree(place, ignore_errors=True)
        building = folder / f"{key}.tmp-{secrets.token_hex(4)}"
        try:
            building.mkdir()
            make(building)
            storage.write_bytes(str(seal), storage.directory_digest(str(building)).encode())
            os.rename(building, place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return place


@contextlib.contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    """Makes the folder, and lets no other process make the entry during the block."""
    lock = FileLock(folder / f"{key}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UsageError(
            f"The cache for models cannot be written ({error}); set {CACHE_VARIABLE} to a directory that can be."
        ) from None
    try:
        yield
    finally:
        lock.release()
