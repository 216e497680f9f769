"""``instruments``: sounds of eight kinds, each one drawn anew in pitch, length, loudness and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from beam_job.modalities.sample_parts import splits_of
from beam_job.runtime.sound import import_soundfile

RATE = 16_000
_SHORTEST, _LONGEST = 1.0, 2.0  # seconds
_NOISE = (0.001, 0.05)  # of the loudest sample
Samples = npt.NDArray[np.float64]
Random = np.random.Generator


def _total(parts: Iterable[Samples]) -> Samples:
    total: Samples = np.sum(list(parts), axis=0)
    return total


def _bell(times: Samples, random: Random) -> Samples:
    pitch = random.uniform(400, 900)
    partials = (0.56, 0.92, 1.19, 1.71, 2.0, 2.74, 3.76)  # the partials of a bell (Risset 1969)
    return _total(np.exp(-times * ratio * 3) * np.sin(2 * np.pi * pitch * ratio * times) for ratio in partials)


def _chirp(times: Samples, random: Random) -> Samples:
    rate, low, width = random.uniform(2, 6), random.uniform(1500, 2500), random.uniform(500, 2000)
    phase = (times * rate) % 1
    sweep: Samples = np.sin(2 * np.pi * np.cumsum(low + width * phase) / RATE)
    swell: Samples = np.sin(np.pi * phase) ** 2
    return sweep * swell


def _drum(times: Samples, random: Random) -> Samples:
    since = times % random.uniform(0.25, 0.5)
    pitch = random.uniform(50, 90) + 80 * np.exp(-since * 30)
    return np.exp(-since * 12) * (np.sin(2 * np.pi * pitch * since) + 0.3 * random.standard_normal(len(times)))


def _hum(times: Samples, random: Random) -> Samples:
    pitch = random.uniform(45, 65)
    return _total(np.sin(2 * np.pi * pitch * number * times) / number for number in (1, 2, 3, 5))


def _organ(times: Samples, random: Random) -> Samples:
    pitch = random.uniform(150, 450)
    return _total(np.sin(2 * np.pi * pitch * number * times) / number**0.5 for number in (1, 2, 3, 4, 6, 8))


def _pluck(times: Samples, random: Random) -> Samples:
    """Karplus and Strong, 1983: noise in a loop that loses its high frequencies."""
    period = round(RATE / random.uniform(150, 450))
    line: Samples = random.uniform(-1, 1, period)
    found: list[Samples] = []
    while len(found) * period < len(times):
        found.append(line)
        line = 0.498 * (line + np.roll(line, 1))
    return np.concatenate(found)[: len(times)]


def _rain(times: Samples, random: Random) -> Samples:
    drops = random.random(len(times)) < random.uniform(0.001, 0.01)
    decay = np.exp(-np.arange(200) / random.uniform(10, 40))
    return np.convolve(drops * random.standard_normal(len(times)), decay, "same") + 0.1 * random.standard_normal(
        len(times)
    )


def _siren(times: Samples, random: Random) -> Samples:
    pitch, width, rate = random.uniform(600, 900), random.uniform(150, 350), random.uniform(0.5, 2)
    return np.sin(2 * np.pi * np.cumsum(pitch + width * np.sin(2 * np.pi * rate * times)) / RATE)


INSTRUMENTS: dict[str, Callable[[Samples, Random], Samples]] = {
    "bell": _bell,
    "chirp": _chirp,
    "drum": _drum,
    "hum": _hum,
    "organ": _organ,
    "pluck": _pluck,
    "rain": _rain,
    "siren": _siren,
}


def write_instruments(root: Path, examples_per_class: int, seed: int) -> int:
    """FLAC files of one to two seconds at 16 kHz, at ``SPLIT/CLASS/NAME``; arguments as for a set."""
    soundfile = import_soundfile()
    for number, (name, play) in enumerate(INSTRUMENTS.items()):
        random = np.random.default_rng([seed, number])
        for index, split in enumerate(splits_of(examples_per_class)):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            times = np.arange(round(random.uniform(_SHORTEST, _LONGEST) * RATE)) / RATE
            sound = play(times, random)
            sound /= np.abs(sound).max()
            sound += random.uniform(*_NOISE) * random.standard_normal(len(times))
            sound *= random.uniform(0.1, 0.9) / np.abs(sound).max()
            soundfile.write(str(folder / f"{name}-{index:04d}.flac"), sound, RATE)
    return len(INSTRUMENTS) * examples_per_class
