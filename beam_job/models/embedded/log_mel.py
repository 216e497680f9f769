"""log-mel: spectra of sound on the mel scale, a model without weights.

It is the front end that VGGish and YAMNet begin with, with their constants
(github.com/tensorflow/models/blob/master/research/audioset/yamnet/params.py): a plain baseline for sounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_job.runtime.tensorflow import import_tensorflow

NAME = "log-mel"
RATE = 16_000
_FRAME, _STEP, _FFT = 400, 160, 512  # samples: 25 ms, 10 ms, and the next power of two
_BANDS, _LOWEST, _HIGHEST = 64, 125.0, 7500.0  # hertz
_OFFSET = 0.001


def export(handle: str, weights: Sequence[str], folder: str) -> None:
    """Writes a SavedModel from waveforms, float32 [B, N] at 16 kHz, to float32 [B, frames, 64].

    Runs in a separate process.
    """
    tf = import_tensorflow()
    waveforms = tf.TensorSpec([None, None], tf.float32, name="waveform")
    rate = tf.TensorSpec([], tf.int32, name="sample_rate")

    class Exported(tf.Module):  # type: ignore[misc, name-defined]
        """Callable by keywords, as models of speech on TF Hub are."""

        @tf.function(input_signature=[waveforms, rate])  # type: ignore[untyped-decorator]
        def __call__(self, waveform: Any, sample_rate: Any = RATE) -> Any:
            spectra = tf.abs(tf.signal.stft(waveform, _FRAME, _STEP, _FFT))
            scale = tf.signal.linear_to_mel_weight_matrix(_BANDS, _FFT // 2 + 1, RATE, _LOWEST, _HIGHEST)
            return tf.math.log(tf.matmul(spectra, scale) + _OFFSET)

    tf.saved_model.save(Exported(), folder)
