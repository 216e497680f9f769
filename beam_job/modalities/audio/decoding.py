"""From the bytes of a sound file to one channel at the model's rate.

libsndfile decodes and soxr resamples, block by block: memory holds the file and the result, whatever the header says.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from beam_job.core.errors import (
    CorruptExampleError,
    EmptyFileError,
    ExampleTooLargeError,
    UnknownFormatError,
)
from beam_job.core.records import Float32Array
from beam_job.modalities.audio.signatures import MP3, missing_bytes, sound_format
from beam_job.runtime.sound import announced_length, import_soundfile, import_soxr, open_sound, sound_blocks

_RESAMPLER = "HQ"
# NumPy sums so many numbers in pairs.
_PAIRWISE = 8


def decode_sound(content: bytes, rate: int, max_seconds: float) -> Float32Array:
    """The sound in a file: WAV, FLAC, OGG (Vorbis or Opus), MP3 or AIFF.

    Args:
      content: The file.
      rate: Samples per second of the result.
      max_seconds: The longest sound that is decoded.

    Returns:
      float32 [N]: the mean of the channels, in [-1, 1] but for what resampling adds, at ``rate``.

    Raises:
      DecodeError: the file is empty, damaged, truncated, silent, too long, or not a sound.
    """
    if not content:
        raise EmptyFileError("expected a sound, found an empty file")
    name = sound_format(content)
    if name is None:
        raise UnknownFormatError(f"expected WAV, FLAC, OGG, MP3 or AIFF, found a file that begins with {content[:8]!r}")
    if missing := missing_bytes(content, name):
        raise CorruptExampleError(f"expected the whole {name} file, found one that is truncated by {missing} bytes")
    soundfile = import_soundfile()
    try:
        with open_sound(io.BytesIO(content)) as file:
            samples = _read(file, name, rate, max_seconds)
    except soundfile.SoundFileError as error:
        raise CorruptExampleError(f"the {name} file cannot be decoded: {_reason(error)}") from None
    except (RuntimeError, ValueError, OverflowError) as error:  # what a damaged header makes of a length or a rate
        raise CorruptExampleError(f"the {name} file cannot be decoded: {error}") from None
    if not np.isfinite(samples).all():
        raise CorruptExampleError("expected finite samples, found NaN or infinity")
    if not samples.any():
        raise EmptyFileError(f"expected a sound, found {'only silence' if len(samples) else 'none'}")
    return samples


def _read(file: Any, name: str, rate: int, max_seconds: float) -> Float32Array:
    """One channel of an open file, at ``rate``."""
    limit = max_seconds * file.samplerate
    announced = announced_length(file)
    if announced is not None and announced > limit:
        raise _too_long(announced / file.samplerate, max_seconds)
    resample = _resampler(file.samplerate, rate)
    if name == MP3:
        file.seek(0)  # as soundfile.read does: it decides the last bits
    parts, read = [], 0
    for samples in sound_blocks(file):
        read += len(samples)
        if read > limit:
            raise _too_long(read / file.samplerate, max_seconds)
        parts.append(resample(_mono(samples), False))
    parts.append(resample(np.zeros(0, np.float32), True))
    if announced is not None and read < announced:
        raise CorruptExampleError(f"expected {announced} samples, as the {name} file announces, found {read}")
    return np.concatenate(parts)


def _mono(samples: Float32Array) -> Float32Array:
    """The mean of the channels, float32 [N, C] to [N]: ``samples.mean(axis=1)``, bit for bit.

    For a few channels NumPy takes twenty times as long as a sum by channels; from eight on it sums in another order.
    """
    count = samples.shape[1]
    if count >= _PAIRWISE:
        return np.asarray(samples.mean(axis=1))
    total = samples[:, 0].copy()
    for channel in range(1, count):
        total += samples[:, channel]
    total /= count
    return total


def _resampler(before: int, after: int) -> Any:
    """From a block of samples, and whether it is the last one, to what is resampled so far."""
    if before == after:
        return lambda samples, last: samples
    return import_soxr().ResampleStream(before, after, 1, dtype="float32", quality=_RESAMPLER).resample_chunk


def _too_long(seconds: float, max_seconds: float) -> ExampleTooLargeError:
    return ExampleTooLargeError(
        f"expected at most {max_seconds:g} s, found {seconds:.1f} s; see --max_audio_seconds, or take parts of it with "
        f"the columns start and end of a manifest"
    )


def _reason(error: Exception) -> str:
    """The words of libsndfile, without the object that was opened."""
    words = " ".join(str(getattr(error, "error_string", error)).split())
    return words.removeprefix("Error : ").rstrip(".")
