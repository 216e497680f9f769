"""Imports soundfile and soxr where they are needed, and opens sounds."""

from __future__ import annotations

import contextlib
import io
from typing import Any, BinaryIO

from beam_job.core.errors import UsageError

_MISSING = 'Sounds need the packages soundfile and soxr; install them with: pip install "beam_job[audio]"'


def import_soundfile() -> Any:
    """The soundfile module.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: its library is not for this system
        raise UsageError(_MISSING) from None
    return soundfile


class _Bounded:
    """A file to read that cannot be left: where a damaged one sends libsndfile before its start, it is at its start.

    An exception there would be printed with its traceback, since it cannot pass through libsndfile.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell
        self.readinto = file.readinto  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.seek(0)


def open_sound(file: BinaryIO) -> contextlib.AbstractContextManager[Any]:
    """A ``soundfile.SoundFile`` that reads an open file.

    Raises:
      soundfile.SoundFileError: it is no sound, or is damaged.
      UsageError: soundfile is not installed.
    """
    opened: contextlib.AbstractContextManager[Any] = import_soundfile().SoundFile(_Bounded(file))
    return opened


def import_soxr() -> Any:
    """The soxr module.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import soxr
    except ImportError:
        raise UsageError(_MISSING) from None
    return soxr
