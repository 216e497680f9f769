"""Models of sounds, in the forms that TF Hub's have: one waveform at a time, batches, and windows of a fixed length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from beam_job.core.records import Float32Array
from tests.support.zoo.form import Call, Form, save

BANDS, WIDTH = 20, 32
WINDOW = 15_600  # samples of YAMNet's window in its TensorFlow Lite form
_WAVEFORM = tf.TensorSpec([None], tf.float32, "waveform")
_WAVEFORMS = tf.TensorSpec([None, None], tf.float32, "waveform")
RATE = {"sample_rate": "16000"}
_LAYER = {"layer": "output_1:avg"}


class Ear(tf.Module):
    """Spectra of frames of 25 ms every 10 ms, [..., N] to [..., frames, 20], and vectors made of them."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(2)
        self.filters = tf.Variable(random.normal(size=(257, BANDS)) / 16, dtype=tf.float32)
        self.dense = tf.Variable(random.normal(size=(BANDS, WIDTH)) / 4, dtype=tf.float32)

    def spectra(self, waveform: Any) -> Any:
        spectrum = tf.abs(tf.signal.stft(waveform, 400, 160, 512))
        return tf.math.log(tf.abs(tf.matmul(spectrum, self.filters)) + 1e-2)

    def frames(self, waveform: Any) -> Any:
        return tf.tanh(tf.matmul(self.spectra(waveform), self.dense))


def three_answers(ear: Ear, waveform: Any) -> tuple[Any, Any, Any]:
    spectra = ear.spectra(waveform)
    return tf.nn.sigmoid(spectra), tf.tanh(tf.matmul(spectra, ear.dense)), spectra


def yamnet(path: Path) -> Call:
    """One waveform at a time, to scores, embeddings and a spectrogram by frames."""
    ear = Ear()
    ear.__call__ = tf.function(lambda waveform: three_answers(ear, waveform), input_signature=[_WAVEFORM])
    tf.saved_model.save(ear, str(path))
    return lambda waveform: tf.reduce_mean(ear.frames(waveform), axis=0, keepdims=True)


def vggish(path: Path) -> Call:
    """One waveform at a time, to a vector for each 0.96 s."""
    ear = Ear()

    def embed(waveform: Any) -> Any:
        return tf.reduce_mean(tf.signal.frame(ear.frames(waveform), 96, 96, axis=0), axis=1)

    ear.__call__ = tf.function(embed, input_signature=[_WAVEFORM])
    tf.saved_model.save(ear, str(path))
    return lambda waveform: tf.reduce_mean(embed(waveform), axis=0, keepdims=True)


class Trill(Ear):
    """Called by keywords: ``samples`` and ``sample_rate``, which has a default."""

    @tf.function
    def __call__(self, samples: Any, sample_rate: Any = 16_000) -> dict[str, Any]:
        frames = self.frames(samples)
        return {"embedding": frames, "layer19": tf.concat([frames, frames], -1)}


def trill(path: Path) -> Call:
    ear = Trill()
    ear.__call__.get_concrete_function(_WAVEFORMS)
    tf.saved_model.save(ear, str(path))
    return lambda waveform: tf.reduce_mean(ear.frames(waveform[tf.newaxis]), axis=1)


def told_the_rate(path: Path) -> Call:
    """A signature that is told the rate, and makes use of it."""
    ear = Ear()

    def serve(samples: Any, sample_rate: Any) -> dict[str, Any]:
        return {"embedding": ear.frames(samples) * (tf.cast(sample_rate, tf.float32) / 16_000)}

    rate = tf.TensorSpec([], tf.int32, "sample_rate")
    save(path, ear, serving_default=(serve, [tf.TensorSpec([None, None], tf.float32, "samples"), rate]))
    return lambda waveform: tf.reduce_mean(ear.frames(waveform[tf.newaxis]), axis=1)


class ToldByDefault(Ear):
    """Its call has the rate by default; its signature is told it, and has one more output."""

    @tf.function(input_signature=[_WAVEFORMS, tf.TensorSpec([], tf.int32, "sample_rate")])
    def __call__(self, waveform: Any, sample_rate: Any = 16_000) -> Any:
        return self.frames(waveform) + tf.cast(sample_rate, tf.float32) / 16_000


def rate_by_default(path: Path) -> Call:
    ear = ToldByDefault()

    def serve(waveform: Any, sample_rate: Any) -> dict[str, Any]:
        return {"further": ear.frames(waveform) + tf.cast(sample_rate, tf.float32)}

    save(path, ear, serving_default=(serve, [_WAVEFORMS, tf.TensorSpec([], tf.int32, "sample_rate")]))
    return lambda waveform: tf.reduce_mean(ear(waveform[tf.newaxis]), axis=1)


def signature_without_a_rate(path: Path) -> None:
    rate_by_default(path)


def windows(waveform: Any, length: int, hop: int) -> Float32Array:
    """[windows, length], by a plain loop."""
    samples, found, start = np.asarray(waveform), [], 0
    while not found or start + length - hop < len(samples):
        part = samples[start : start + length]
        found.append(np.pad(part, (0, length - len(part))))
        start += hop
    return np.stack(found)


def fixed_window(shape: tuple[int, ...], hop: int = WINDOW) -> Callable[[Path], Call]:
    """Batches of windows of one length, as the model declares them."""

    def make(path: Path) -> Call:
        ear = Ear()

        def embed(waveforms: Any) -> Any:
            return tf.reduce_mean(ear.frames(tf.reshape(waveforms, [-1, WINDOW])), axis=1)

        spec = tf.TensorSpec([None, *shape], tf.float32, "waveform")
        save(path, ear, serving_default=(embed, [spec]))
        return lambda waveform: tf.reduce_mean(embed(windows(waveform, WINDOW, hop)), axis=0, keepdims=True)

    return make


def largest_frame(path: Path) -> Call:
    """Batches of windows to frames, of which the largest value over all windows is kept."""
    ear = Ear()
    save(path, ear, serving_default=(ear.frames, [tf.TensorSpec([None, WINDOW], tf.float32, "waveform")]))
    return lambda waveform: tf.reduce_max(ear.frames(windows(waveform, WINDOW, WINDOW)), axis=[0, 1])[tf.newaxis]


def one_window(path: Path) -> Call:
    """One window at a time, without a batch."""
    ear = Ear()

    def embed(waveform: Any) -> Any:
        return tf.reduce_mean(ear.frames(waveform), axis=0)

    ear.__call__ = tf.function(embed, input_signature=[tf.TensorSpec([WINDOW], tf.float32, "waveform")])
    tf.saved_model.save(ear, str(path))
    return lambda waveform: tf.reduce_mean([embed(part) for part in windows(waveform, WINDOW, WINDOW)], 0)[tf.newaxis]


def whole_numbers(path: Path) -> Call:
    """Samples of 16 bits."""
    ear = Ear()

    def embed(samples: Any) -> Any:
        return tf.reduce_mean(ear.frames(tf.cast(samples, tf.float32) / 32768), axis=1)

    save(path, ear, serving_default=(embed, [tf.TensorSpec([None, None], tf.int16, "samples")]))
    return lambda waveform: embed(np.clip(np.rint(np.asarray(waveform) * 32768), -32768, 32767)[np.newaxis])


def by_keras(path: Path) -> Call:
    """Convolutions over waveforms [B, N, 1]."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 1))
    x = keras.layers.Conv1D(8, 400, 160, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x))
    model.save(path)
    return lambda waveform: model(waveform[tf.newaxis, :, tf.newaxis])


def standard(path: Path) -> Call:
    """Waveforms of mean 0 and deviation 1, as wav2vec2 takes them."""
    ear = Ear()
    save(path, ear, serving_default=(ear.frames, [_WAVEFORMS]))

    def direct(waveform: Any) -> Any:
        mean, variance = tf.nn.moments(waveform, [0])
        return tf.reduce_mean(ear.frames(((waveform - mean) / tf.sqrt(variance + 1e-7))[tf.newaxis]), axis=1)

    return direct


def numbers(path: Path) -> None:
    module = tf.Module()
    module.dense = tf.Variable(tf.ones([10, 4]))
    save(path, module, serving_default=(lambda rows: rows @ module.dense, [tf.TensorSpec([None, 10], tf.float32)]))


def without_rate(path: Path) -> None:
    yamnet(path)


def _form(what: str, name: str, make: Callable[[Path], Call | None], **attributes: Any) -> Form:
    options = {**RATE, **attributes.pop("options", {})}
    return Form(what, name, make, **{"options": options, "modality": "audio", **attributes})


FORMS = (
    _form("one waveform at a time, three answers (YAMNet)", "yamnet", yamnet, options=_LAYER),
    _form("one waveform at a time, a vector for each 0.96 s (VGGish)", "vggish", vggish),
    Form("called by keywords, with a rate (TRILL)", "trill", trill, {"layer": "embedding:avg"}, modality="audio"),
    _form("a signature that is told the rate", "told", told_the_rate),
    Form("a rate by default", "default_rate", rate_by_default, {}, modality="audio"),
    Form(
        "an output of a signature that is told a rate which is not given",
        "no_rate",
        signature_without_a_rate,
        {"layer": "further:avg"},
        "no layer, output or tensor 'further'",
        modality="audio",
    ),
    _form("windows [B, N]", "windows", fixed_window((WINDOW,))),
    _form(
        "windows [B, N, 1] that overlap",
        "overlapping",
        fixed_window((WINDOW, 1), WINDOW // 2),
        options={"audio_hop": str(WINDOW / 2 / 16_000)},
    ),
    _form("windows [B, N], `--layer default:max`", "largest", largest_frame, options={"layer": "default:max"}),
    _form("one window [N] at a time", "one_window", one_window),
    _form("samples of 16 bits", "int16", whole_numbers),
    _form("[B, N, 1] of any length, .keras", "waveforms.keras", by_keras),
    _form("`--normalize_audio standard` (wav2vec2)", "standard", standard, options={"normalize_audio": "standard"}),
    Form("a rate that nothing declares", "rateless", without_rate, _LAYER, "give --sample_rate", modality="audio"),
    Form("plain numbers [B, 10]", "numbers", numbers, {}, "one of plain numbers", modality="audio"),
)
