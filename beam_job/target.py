"""The directory that a run writes to: may it, and what has to go first."""

from __future__ import annotations

from beam_job import naming, storage
from beam_job.errors import OutputError

_SHOWN = 3


def check_target(output: str, overwrite: bool) -> list[str]:
    """Checks that a run may write to ``output``.

    Args:
      output: The dataset's directory.
      overwrite: Whether a dataset that is there may be replaced.

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
    if not overwrite:
        raise OutputError(f"There is a dataset at {output} already; choose another --output, or give --overwrite.")
    return paths


def clear_target(output: str, stale: list[str]) -> None:
    """Makes the target ready: what is stale goes, ``_SUCCESS`` first, and a first file shows that it can be written.

    Raises:
      OutputError: it cannot be written.
    """
    try:
        success = storage.join(output, naming.SUCCESS)
        storage.delete([success] if success in stale else [])
        storage.delete(path for path in stale if path != success)
        storage.remove_empty_folders(output)
        storage.write_bytes(storage.join(output, naming.PLAN), b"{}")
    except OSError as error:
        raise OutputError(f"The target {output} cannot be written: {error}") from None
