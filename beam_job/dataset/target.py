"""The directory that a run writes to: may it, and what has to go first."""

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
from beam_job.runtime import storage

_SHOWN = 3
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def check_target(output: str, overwrite: bool, resume: bool = False) -> list[str]:
    """Checks that a run may write to ``output``.

    Args:
      output: The dataset's directory.
      overwrite: Whether a dataset that is there may be replaced.
      resume: Whether a dataset that is there is to be gone on with.

    Returns:
      The files that are there and have to be deleted first.

    Raises:
      OutputError: something is there that may not be replaced.
    """
    if storage.is_local(output) and storage.exists(output) and not storage.is_directory(output):
        raise OutputError(f"Expected --output to be a directory, found a file at {output}.")
    try:
        paths = sorted(info.path for info in storage.list_files(output))
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None
    if not paths:
        return []
    foreign = [path for path in paths if not naming.is_ours(storage.relative(path, output))]
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
            f"There is a dataset at {output} already; choose another --output, or give --overwrite to replace it or "
            f"--resume to go on with it."
        )
    names = {path: storage.relative(path, output) for path in paths}
    return [path for path, name in names.items() if name != naming.LOCK and (overwrite or naming.is_temporary(name))]


@contextlib.contextmanager
def locked_target(output: str) -> Iterator[None]:
    """Holds the target as long as the block lasts, so that no second run on this machine writes to it.

    In a bucket there is no lock; there, the fingerprints in the receipts show that another run has been at work.

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
            f"Another run is writing to {output}; wait for its end, or choose another --output."
        ) from None
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None
    try:
        yield
    finally:
        # Before it is released: whoever waits with the file open then finds it gone, and makes another.
        with contextlib.suppress(OSError):
            os.unlink(path)
        lock.release()
        storage.remove_empty_folders(storage.join(output, naming.WORK))


def clear_target(output: str, stale: list[str], identity: Mapping[str, Any]) -> None:
    """Makes the target ready: what is stale goes, ``_SUCCESS`` first, and a first file says what is coming.

    Raises:
      OutputError: it cannot be written.
    """
    try:
        success = storage.join(output, naming.SUCCESS)
        storage.delete([success] if success in stale else [])
        storage.delete(path for path in stale if path != success)
        storage.remove_empty_folders(output)
        storage.write_bytes(storage.join(output, naming.INTENT), json.dumps(identity).encode())
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None


@contextlib.contextmanager
def writing(output: str, name: str) -> Iterator[None]:
    """Says what became of the target when the block, which writes ``name`` there, cannot.

    Raises:
      JobFailedError: the operating system or the store refused; what is committed stays.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            words = f"There is no space left for {name} at {output}. Make room"
        elif error.errno in _FORBIDDEN or isinstance(error, PermissionError):
            words = f"{name} may not be written to {output} any more ({error}). Restore the permission"
        else:
            words = f"{name} cannot be written to {output} ({error}). Mend that"
        raise JobFailedError(f"{words}, then run again with --resume: what is committed is kept.") from error
