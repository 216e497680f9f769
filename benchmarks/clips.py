"""The clips of the benchmarks, and the model: ten seconds of mixed instruments, WAV of 16 bits at 44,100 Hz in stereo.

The model has the architecture of YAMNet: MobileNet v1 on log-mel patches of 0.96 s, with random weights, which do not
change its speed. It takes one waveform at a time, as YAMNet does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from beam_job.modalities.audio.samples import INSTRUMENTS

DISTINCT = 60
RATE, SECONDS = 44_100, 10.0
MODEL_RATE = 16_000


def make_clips(folder: Path) -> list[tuple[Path, int]]:
    """The path and label of each clip. Clips that exist already are not made again."""
    target = folder / "clips"
    target.mkdir(parents=True, exist_ok=True)
    players, clips = list(INSTRUMENTS.values()), []
    for number in range(DISTINCT):
        path = target / f"{number:04d}.wav"
        if not path.exists():
            random = np.random.default_rng(number)
            times = np.arange(round(SECONDS * MODEL_RATE)) / MODEL_RATE
            parts = [players[place](times, random) for place in random.integers(0, len(players), 3)]
            mixed = sum(part / np.abs(part).max() for part in parts)
            wide = soxr.resample(mixed, MODEL_RATE, RATE)
            stereo = np.stack([wide, 0.7 * wide], axis=1) * (0.3 / np.abs(wide).max())
            soundfile.write(path, stereo, RATE, "PCM_16")
        clips.append((path, number % len(players)))
    return clips


def make_model(folder: Path) -> str:
    """The directory of the model, which is made once, in a process of its own."""
    path = folder / "yamnet"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "benchmarks.clips", str(path)], check=True, capture_output=True)
    return str(path)


def save_model(path: str) -> None:
    """Writes the model: a waveform, float32 [N] at 16 kHz, to float32 [frames, 1024]."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNet(input_shape=(96, 64, 1), weights=None, include_top=False, pooling="avg")
    for variable in network.variables:
        if "moving_variance" in variable.path:  # as random weights leave it, so that the features do not vanish
            variable.assign(variable * 0.05)
    mel = tf.signal.linear_to_mel_weight_matrix(64, 257, MODEL_RATE, 125.0, 7500.0)

    class Yamnet(tf.Module):
        """Callable."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, waveform: Any) -> Any:
            spectra = tf.abs(tf.signal.stft(waveform, 400, 160, 512))
            patches = tf.signal.frame(tf.math.log(tf.matmul(spectra, mel) + 0.001), 96, 48, axis=0)
            return self.network(patches[..., tf.newaxis], training=False)

    tf.saved_model.save(Yamnet(), path)


if __name__ == "__main__":
    save_model(sys.argv[1])
