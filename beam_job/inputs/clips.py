"""Clips: parts of long recordings, from one second to another, which a manifest names in its columns start and end."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import BadReferenceError
from beam_job.runtime import storage
from beam_job.runtime.sound import announced_length, import_soundfile, open_sound, sound_blocks

# An end that is so many seconds behind that of the recording is one that was rounded.
_ROUNDED = 0.5
_LONGEST = 3600.0
# How samples are read so that a WAV file holds them as the recording does; others become 32-bit floating-point numbers.
_KEPT = {"PCM_U8": "int32", "PCM_16": "int32", "PCM_24": "int32", "PCM_32": "int32", "DOUBLE": "float64"}


def clip_of(start: str | None, end: str | None) -> tuple[float | None, float | None]:
    """The seconds that two cells name, None and None where both are empty; a start is 0 where only an end is named.

    Raises:
      BadReferenceError: they are no seconds, or in the wrong order.
    """
    if start is None and end is None:
        return None, None
    first = _seconds("start", start) if start is not None else 0.0
    last = _seconds("end", end) if end is not None else None
    if last is not None and last <= first:
        raise BadReferenceError(f"expected an end after the start, found start {start} and end {end}")
    return first, last


def _seconds(column: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadReferenceError(f"expected {column} in seconds, from 0 on, found {text!r}")
    return seconds


def read_clip(uri: str, start: float, end: float | None) -> bytes:
    """A clip as a WAV file, with the channels and the rate of the recording. Only its part of a local file is read.

    Args:
      uri: The recording.
      start: Where the clip begins, in seconds.
      end: Where it ends; None for the end of the recording.

    Raises:
      BadReferenceError: the recording ends before the clip does, or the clip is too long.
      OSError: the file cannot be read, or is no sound.
    """
    soundfile = import_soundfile()
    try:
        with storage.open_read(uri) as raw, open_sound(raw) as file:
            samples = _samples(file, uri, start, end)
            rate, subtype = file.samplerate, file.subtype
    except soundfile.SoundFileError as error:
        raise OSError(f"it is no sound, or is damaged: {getattr(error, 'error_string', error)}") from None
    cut = io.BytesIO()
    soundfile.write(cut, samples, rate, subtype if subtype in _KEPT else "FLOAT", format="WAV")
    return cut.getvalue()


def _samples(file: Any, uri: str, start: float, end: float | None) -> npt.NDArray[Any]:
    """The samples of a clip, [n, channels]; memory holds no more than the file has of them."""
    rate, announced = file.samplerate, announced_length(file)
    first = round(start * rate)
    stop = first + round(_LONGEST * rate) + 1
    if announced is not None:
        _check_within(uri, start, end, announced / rate)
        stop = min(announced, stop)
    last = stop if end is None else min(round(end * rate), stop)
    passed = 0
    # A seek within an MP3 is not exact, and one in a recording of unknown length may fail.
    if announced is not None and file.format != "MP3":
        file.seek(first)
        passed = first
    parts = []
    for block in sound_blocks(file, _KEPT.get(file.subtype, "float32")):
        if passed + len(block) > first:
            parts.append(block[max(0, first - passed) : last - passed])
        passed += len(block)
        if passed >= last:
            break
    if announced is None:
        _check_within(uri, start, end, passed / rate)
    elif passed < last:
        raise OSError(f"it ends after {passed / rate:.2f} s, and announces {announced / rate:.2f} s")
    samples = np.concatenate(parts) if parts else np.zeros((0, file.channels))
    if len(samples) > _LONGEST * rate:
        raise BadReferenceError(f"expected a clip of at most {_LONGEST:g} s, found one of {uri} that is longer")
    return samples


def _check_within(uri: str, start: float, end: float | None, lasts: float) -> None:
    """Checks that a clip is in a recording of so many seconds."""
    if start >= lasts or (end is not None and end > lasts + _ROUNDED):
        found = f"{start:g} s to the end" if end is None else f"{start:g} to {end:g} s"
        raise BadReferenceError(f"expected a clip within the {lasts:.2f} s of {uri}, found {found}")
