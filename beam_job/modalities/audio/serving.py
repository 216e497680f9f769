"""From the bytes of a WAV file to a model's input in TensorFlow's operations, for served models.

It repeats in a graph what the job does, except for decoding other formats and resampling: it takes WAV files of 16-bit
samples at the model's rate, with any number of channels, which are averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beam_job.runtime.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from beam_job.modalities.audio.modality import AudioModality


def prepare_sound(content: Any, modality: AudioModality) -> Any:
    """The model's input for the bytes of one WAV file.

    Args:
      content: Tensor, string [].
      modality: What the model takes.

    Returns:
      float32 [1, N], or [windows, length] for a model that takes windows.
    """
    tf = import_tensorflow()
    wav = tf.audio.decode_wav(content)
    tf.debugging.assert_equal(
        wav.sample_rate, modality.rate, f"expected a WAV file of {modality.rate} samples per second"
    )
    samples = modality.scaled(tf.reduce_mean(wav.audio, axis=1), tf)
    if modality.window is None:
        return samples[tf.newaxis]
    length, hop = modality.window, modality.hop
    count = 1 + tf.maximum(0, -(-(tf.size(samples) - length) // hop))
    missing = tf.maximum(0, (count - 1) * hop + length - tf.size(samples))
    return tf.signal.frame(tf.pad(samples, [[0, missing]]), length, hop)
