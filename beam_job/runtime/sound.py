"""Imports soundfile, which reads and writes sounds, where it is needed."""

from __future__ import annotations

from typing import Any

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
