"""Clips: parts of long recordings, from one second to another, which a manifest names in its columns start and end."""

from __future__ import annotations

import io
import math

from beam_job.core.errors import BadReferenceError
from beam_job.runtime import storage
from beam_job.runtime.sound import import_soundfile, open_sound

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
            rate = file.samplerate
            lasts = file.frames / rate
            last = lasts if end is None else end
            if start >= lasts or last > lasts + _ROUNDED:
                raise BadReferenceError(
                    f"expected a clip within the {lasts:.2f} s of {uri}, found {start:g} to {last:g} s"
                )
            if last - start > _LONGEST:
                raise BadReferenceError(f"expected a clip of at most {_LONGEST:g} s, found {start:g} to {last:g} s")
            first = round(start * rate)
            count = min(round(last * rate), file.frames) - first
            # A seek within an MP3 is not exact, so that it is read from its start.
            skipped = first if file.format == "MP3" else 0
            file.seek(first - skipped)
            samples = file.read(skipped + count, _KEPT.get(file.subtype, "float32"), always_2d=True)[skipped:]
            if len(samples) < count:
                raise OSError(f"it ends after {(first + len(samples)) / rate:.2f} s, and announces {lasts:.2f} s")
    except soundfile.SoundFileError as error:
        raise OSError(f"it is no sound, or is damaged: {getattr(error, 'error_string', error)}") from None
    cut = io.BytesIO()
    soundfile.write(cut, samples, rate, file.subtype if file.subtype in _KEPT else "FLOAT", format="WAV")
    return cut.getvalue()
