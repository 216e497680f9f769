"""Sounds for tests: made from sines and noise, in the formats that people have."""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr

from beam_job.core.records import Float32Array

RATE = 16_000


def tone(seconds: float = 1.0, seed: int = 0, rate: int = RATE, channels: int = 1) -> Float32Array:
    """Two sines and faint noise, float32 [N, channels], or [N] for one channel."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    low, high = random.uniform(80, 400), random.uniform(800, 3000)
    sines = 0.3 * np.sin(2 * np.pi * low * times) + 0.1 * np.sin(2 * np.pi * high * times + seed)
    noise = 0.02 * random.standard_normal((len(times), channels))
    samples = (sines[:, np.newaxis] + noise).astype(np.float32)
    return samples[:, 0] if channels == 1 else samples


def encode(samples: Float32Array, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """A sound as a file of some format."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=kind)
    return file.getvalue()


def decoded(content: bytes, rate: int = RATE) -> Float32Array:
    """What a user would give a model: the whole file, its channels averaged, resampled in one go."""
    samples, before = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return np.asarray(mono if before == rate else soxr.resample(mono, before, rate), np.float32)


def sounds() -> list[bytes]:
    """Recordings of different lengths, rates, channels and formats."""
    return [
        encode(tone(1.3, 0)),
        encode(tone(2.1, 1, 44_100, 2), 44_100, "FLAC"),
        encode(tone(3.2, 2, 22_050), 22_050, "WAV", "FLOAT"),
        encode(tone(2.0, 3, 48_000, 2), 48_000, "OGG", "VORBIS"),
    ]
