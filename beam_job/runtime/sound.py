"""Imports soundfile and soxr where they are needed, and opens sounds."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy.typing as npt

from beam_job.core.errors import UsageError

# Samples of all channels that are decoded at a time.
_BLOCK_SAMPLES = 1 << 18
_UNKNOWN = (1 << 63) - 1  # SF_COUNT_MAX of libsndfile
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


def announced_length(file: Any) -> int | None:
    """How many samples of each channel an open sound announces; None for one that was written to a pipe."""
    known = 0 <= file.frames < _UNKNOWN
    return int(file.frames) if known else None


def sound_blocks(file: Any, dtype: str = "float32") -> Iterator[npt.NDArray[Any]]:
    """The samples of an open sound from where it is to its end, [n, channels], a bounded number at a time.

    Between two reads soundfile seeks to where it is, if it may. That is not exact in an MP3, and fails in a FLAC of
    unknown length, so it may not.
    """
    file.seekable = lambda: False
    size = max(1, _BLOCK_SAMPLES // file.channels)
    while len(block := file.read(size, dtype, always_2d=True)):
        yield block


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
