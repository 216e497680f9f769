"""The directory that a run writes to: whether it may, and what it deletes first."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from filelock import FileLock, Timeout

from beam_job.core import naming
from beam_job.core.errors import JobFailedError, OutputError
from beam_job.outputs.selection import all_suffixes
from beam_job.runtime import storage

_SHOWN = 3
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def check_target(output: str, overwrite: bool, resume: bool = False) -> list[str]:
    """Checks that a run may write to ``output``.

    Args:
      output: The dataset's directory.
      overwrite: Whether an existing dataset may be replaced.
      resume: Whether an existing dataset is continued.

    Returns:
      The existing files that must be deleted first.

    Raises:
      OutputError: something exists there that must not be replaced.
    """
    if storage.is_local(output) and storage.exists(output) and not storage.is_directory(output):
        raise OutputError(f"Expected --output to be a directory, found a file at {output}.")
    try:
        paths = sorted(info.path for info in storage.list_files(output))
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None
    if not paths:
        return []
    suffixes = all_suffixes()
    foreign = [path for path in paths if not naming.is_ours(storage.relative(path, output), suffixes)]
    if foreign:
        shown = ", ".join(foreign[:_SHOWN])
        raise OutputError(
            f"Expected --output to be empty or a dataset of beam_job, found {len(foreign)} other files at {output} "
            f"({shown}); choose another directory."
        )
    if overwrite and resume:
        raise OutputError("Give either --overwrite or --resume, found both.")
    if not (overwrite or resume):
        raise OutputError(
            f"There is already a dataset at {output}; choose another --output, or give --overwrite to replace it or "
            f"--resume to continue it."
        )
    names = {path: storage.relative(path, output) for path in paths}
    return [path for path, name in names.items() if name != naming.LOCK and (overwrite or naming.is_temporary(name))]


@contextlib.contextmanager
def locked_target(output: str) -> Iterator[None]:
    """Locks the target for the length of the block, so that no second run on this machine writes to it.

    A bucket has no lock; there, the fingerprints in the receipts reveal another run.

    Raises:
      OutputError: another run holds it.
    """
    if not storage.is_local(output):
        yield
        return
    path = storage.join(output, naming.LOCK)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"Another run is writing to {output}; wait until it ends, or choose another --output."
        ) from None
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None
    try:
        yield
    finally:
        # Before the release: a process that waits with the file open then finds it deleted, and creates another.
        with contextlib.suppress(OSError):
            os.unlink(path)
        lock.release()
        storage.remove_empty_folders(storage.join(output, naming.WORK))


def clear_target(output: str, stale: list[str], identity: Mapping[str, Any]) -> None:
    """Prepares the target: deletes what is stale, ``_SUCCESS`` first, and writes the identity of the run.

    Raises:
      OutputError: it cannot be written.
    """
    try:
        success = storage.join(output, naming.SUCCESS)
        if success in stale:
            withdraw_success(output)
        storage.delete(path for path in stale if path != success)
        storage.remove_empty_folders(output)
        storage.write_bytes(storage.join(output, naming.INTENT), json.dumps(identity).encode())
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None


@contextlib.contextmanager
def writing(output: str, name: str) -> Iterator[None]:
    """Turns an OSError of the block, which writes ``name`` to the target, into a message for the user.

    Raises:
      JobFailedError: the operating system or the store refused; committed shards stay.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            words = f"There is no space left for {name} at {output}. Free some space"
        elif error.errno in _FORBIDDEN or isinstance(error, PermissionError):
            words = f"{name} can no longer be written to {output} ({error}). Restore the permission"
        else:
            words = f"{name} cannot be written to {output} ({error}). Fix the cause"
        raise JobFailedError(f"{words}, then run again with --resume: committed shards are kept.") from error


def withdraw_success(output: str) -> None:
    """Deletes ``_SUCCESS``, since the dataset is about to change and is no longer complete."""
    storage.delete([storage.join(output, naming.SUCCESS)])
