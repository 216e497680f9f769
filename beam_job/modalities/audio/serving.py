"""From the bytes of a WAV file to a model's input in TensorFlow's operations, for served models.

It repeats in a graph what the job does, except for decoding other formats and resampling: it takes WAV files of 16-bit
samples at the model's rate, with any number of channels, which are averaged.
"""

from __future__ import annotations

from typing import Any

from beam_job.runtime.tensorflow import import_tensorflow


def decode_wav(content: Any, rate: int) -> Any:
    """The samples of a WAV file, its channels averaged.

    Args:
      content: Tensor, string [].
      rate: Samples per second that the file must have.

    Returns:
      float32 [N] in [-1, 1].
    """
    tf = import_tensorflow()
    wav = tf.audio.decode_wav(content)
    samples = tf.reduce_mean(wav.audio, axis=1)
    checks = [
        tf.debugging.assert_equal(wav.sample_rate, rate, f"expected a WAV file of {rate} samples per second"),
        tf.debugging.Assert(tf.reduce_any(samples != 0), ["expected a sound, found only silence"]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(samples)


def tensor_windows(samples: Any, length: int, hop: int) -> Any:
    """The windows of a tensor, float32 [N] to [windows, length], as :func:`windows.windows_of` cuts them."""
    tf = import_tensorflow()
    count = 1 + tf.maximum(0, -(-(tf.size(samples) - length) // hop))
    missing = tf.maximum(0, (count - 1) * hop + length - tf.size(samples))
    return tf.signal.frame(tf.pad(samples, [[0, missing]]), length, hop)
