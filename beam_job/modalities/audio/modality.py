"""Sounds as a modality: bytes in any common format to waveforms at the model's rate, whole or in windows."""

from __future__ import annotations

import base64
import dataclasses
import io
from typing import Any, ClassVar

import numpy as np

from beam_job.core.errors import DecodeError, FlagNeededError, ModelError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Float32Array, Shape
from beam_job.modalities.audio.decoding import decode_sound
from beam_job.modalities.audio.serving import decode_wav, tensor_windows
from beam_job.modalities.audio.signatures import SUFFIXES, sound_format
from beam_job.modalities.audio.windows import windows_of
from beam_job.modalities.base import Batch, FrozenInput, InputRequest, Modality, ModelInput, Preview
from beam_job.runtime.sound import import_soundfile, import_soxr
from beam_job.runtime.tensorflow import import_tensorflow

_TYPES = frozenset(("float16", "float32", "float64", "int16"))
# A model of fewer numbers than that many samples is one of sounds only if the user says so.
_SHORTEST = 4000
_PEAK16 = 32768.0
# What keeps the deviation of a constant sound from being zero, as in Hugging Face's Wav2Vec2FeatureExtractor.
_EPSILON = 1e-7
# A model is tried on sounds of that many samples, where it takes any number: 11 and 25 seconds at 16 kHz, so that
# frames of ten seconds differ in their number too.
_TRIALS = (176_000, 400_000)
_PROBE_SECONDS, _PROBE_PEAK = 11.0, 0.1
_PREVIEW_SECONDS, _PREVIEW_RATE = 2.0, 8000
_PREVIEWED_SECONDS = 3600.0  # a longer recording has no preview
_RATES = "16000, as most models of speech and of sound events take it"


@dataclasses.dataclass(frozen=True)
class AudioModality(Modality):
    """Sounds for one model.

    Attributes:
      rate: Samples per second of the model's input.
      window: Samples that the model is given at a time; None for the whole recording.
      hop: Samples from the start of one window to that of the next; None likewise.
      normalize: ``none``, ``peak`` or ``standard``, as in the option.
      is_integer: Whether the model takes samples from -32768 to 32767 rather than from -1 to 1.
      max_seconds: The longest recording.
    """

    rate: int
    window: int | None
    hop: int | None
    normalize: str
    is_integer: bool
    max_seconds: float

    name: ClassVar[str] = "audio"
    takes: ClassVar[str] = "sounds, waveforms [N], [B, N] or [B, N, 1]"
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    input_dtype: ClassVar[str] = "float32"
    in_clips: ClassVar[bool] = True
    default_pool: ClassVar[str] = "avg"
    size_option: ClassVar[str] = "--audio_window"

    @classmethod
    def matches(cls, declared: ModelInput) -> bool:
        length = _samples(declared.shape) if _is_waveform(declared) else 0
        return length is None or length >= _SHORTEST

    @classmethod
    def admits(cls, declared: ModelInput) -> bool:
        return _is_waveform(declared) or (declared.shape is None and declared.dtype in _TYPES)

    @classmethod
    def input_shape(cls, declared: ModelInput, request: InputRequest) -> Shape:
        length = _samples(declared.shape)
        if request.window is None:
            return (length,)
        if request.rate is None:
            raise FlagNeededError(
                f"The length of a window is not known for the model {request.handle}, which does not declare its "
                f"samples per second; give --sample_rate too, such as --sample_rate={_RATES}."
            )
        wanted = round(request.window * request.rate)
        if length not in (None, wanted):
            raise ModelError(
                f"The model {request.handle} takes windows of {length} samples, found --audio_window="
                f"{request.window:g}, which are {wanted}; leave it out."
            )
        return (wanted,)

    @classmethod
    def of(cls, frozen: FrozenInput, model: ModelOptions, decode: DecodeOptions) -> AudioModality:
        import_soundfile()
        import_soxr()
        rate = _rate(frozen, model)
        (window,) = frozen.shape
        hop = window if model.audio_hop is None else _hop(model.audio_hop, rate, window)
        is_integer = frozen.declared.is_integer
        if is_integer and model.normalize_audio == "standard":
            raise ModelError(
                f"The model {frozen.handle} takes whole numbers, which --normalize_audio=standard does not give."
            )
        return cls(rate, window, hop, model.normalize_audio, is_integer, decode.max_audio_seconds)

    @classmethod
    def arranged(cls, batch: Any, declared: ModelInput) -> Any:
        if not cls.is_batched(declared):
            return batch[0]
        return batch[:, :, None] if declared.shape is not None and len(declared.shape) == 3 else batch

    @classmethod
    def is_batched(cls, declared: ModelInput) -> bool:
        return declared.shape is None or len(declared.shape) > 1

    @classmethod
    def is_windowed(cls, shape: Shape) -> bool:
        return None not in shape

    @classmethod
    def trials(cls, shape: Shape, count: int) -> list[Batch]:
        lengths = [length for length in shape if length is not None] or _TRIALS
        random = np.random.default_rng(0)
        return [_PROBE_PEAK * random.standard_normal((count, length), np.float32) for length in lengths]

    @classmethod
    def recognises(cls, start: bytes) -> bool:
        return sound_format(start) is not None

    @classmethod
    def preview(cls, content: bytes) -> Preview | None:
        try:
            samples = decode_sound(content, _PREVIEW_RATE, _PREVIEWED_SECONDS)[
                : round(_PREVIEW_SECONDS * _PREVIEW_RATE)
            ]
        except DecodeError:
            return None
        file = io.BytesIO()
        mp3 = {"subtype": "MPEG_LAYER_III", "format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.9}
        import_soundfile().write(file, samples, _PREVIEW_RATE, **mp3)
        return Preview("audio", f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}")

    def prepare(self, content: bytes) -> Float32Array:
        samples: Float32Array = self.scaled(decode_sound(content, self.rate, self.max_seconds))
        if self.window is None:
            return samples
        assert self.hop is not None, "windows have a hop"
        return windows_of(samples, self.window, self.hop)

    def scaled(self, samples: Any, tf: Any = None) -> Any:
        """Samples as the model takes them: the same arithmetic for the job and for a served model.

        Args:
          samples: float32 [N] in [-1, 1]; not modified.
          tf: The module, for a tensor rather than an array.
        """
        if tf is None:
            absolute, largest, mean, root, rounded, clipped = np.abs, np.max, np.mean, np.sqrt, np.rint, np.clip
        else:
            absolute, largest, mean = tf.abs, tf.reduce_max, tf.reduce_mean
            root, rounded, clipped = tf.sqrt, tf.round, tf.clip_by_value
        if self.normalize == "peak":
            samples = samples / largest(absolute(samples))
        elif self.normalize == "standard":
            centred = samples - mean(samples)
            samples = centred / root(mean(centred * centred) + np.float32(_EPSILON))
        if self.is_integer:
            samples = clipped(rounded(samples * np.float32(_PEAK16)), np.float32(-_PEAK16), np.float32(_PEAK16 - 1))
        return samples

    def probe(self) -> Float32Array:
        """Faint noise."""
        count = self.window or round(_PROBE_SECONDS * self.rate)
        noise: Float32Array = self.scaled(_PROBE_PEAK * np.random.default_rng(0).standard_normal(count, np.float32))
        return noise if self.window is None else noise[np.newaxis]

    def notes(self) -> list[str]:
        if self.window is None:
            return []
        return [f"recordings are cut into windows of {self.window / self.rate:g} s, {self._hop_seconds:g} s apart"]

    @property
    def _hop_seconds(self) -> float:
        return (self.hop or 0) / self.rate

    def preprocessing(self) -> dict[str, Any]:
        return {
            "modality": self.name,
            "sample_rate": self.rate,
            "window": self.window,
            "hop": self.hop,
            "normalize": self.normalize,
            "range": [-_PEAK16, _PEAK16 - 1] if self.is_integer else [-1.0, 1.0],
        }

    def decode_policy(self) -> dict[str, Any]:
        return {
            "decoder": "libsndfile",
            "channels": "mean",
            "resampler": "soxr, HQ",
            "silence": "refused",
            "max_audio_seconds": self.max_seconds,
        }

    def serve(self, contents: Any) -> Any:
        tf = import_tensorflow()
        samples = self.scaled(decode_wav(contents[0], self.rate), tf)
        if self.window is None:
            return samples[tf.newaxis]
        assert self.hop is not None, "windows have a hop"
        return tensor_windows(samples, self.window, self.hop)

    def as_served(self, content: bytes) -> bytes:
        """A WAV file of 16-bit samples, one channel, at the model's rate."""
        return _wav(decode_sound(content, self.rate, self.max_seconds), self.rate)


def _wav(samples: Float32Array, rate: int) -> bytes:
    """A WAV file of 16-bit samples."""
    file = io.BytesIO()
    whole = np.clip(np.rint(samples * _PEAK16), -_PEAK16, _PEAK16 - 1).astype(np.int16)
    import_soundfile().write(file, whole, rate, "PCM_16", format="WAV")
    return file.getvalue()


def _is_waveform(declared: ModelInput) -> bool:
    shape = declared.shape
    if declared.dtype not in _TYPES or shape is None:
        return False
    return len(shape) in (1, 2) or (len(shape) == 3 and shape[2] == 1)


def _samples(shape: Shape | None) -> int | None:
    """How many samples a model takes at a time, if it fixes that, by the shape of its input."""
    if not shape:
        return None
    return shape[0] if len(shape) == 1 else shape[1]


def _hop(seconds: float, rate: int, window: int | None) -> int:
    """Samples from the start of one window to that of the next.

    Raises:
      ModelError: there are no windows, or some samples would be in none.
    """
    if window is None:
        raise ModelError(
            f"Expected --audio_window with --audio_hop={seconds:g}: the model takes recordings of any length, whole."
        )
    hop = round(seconds * rate)
    if not 1 <= hop <= window:
        raise ModelError(
            f"Expected --audio_hop of at most {window / rate:g} s, which a window lasts, found {seconds:g} s: parts of "
            f"a recording would be in no window."
        )
    return hop


def _rate(frozen: FrozenInput, model: ModelOptions) -> int:
    """Samples per second of the model's input.

    Raises:
      FlagNeededError: it is not known.
      ModelError: the flag contradicts the model.
    """
    if model.sample_rate and frozen.rate and model.sample_rate != frozen.rate:
        raise ModelError(
            f"The model {frozen.handle} takes {frozen.rate} samples per second, found --sample_rate="
            f"{model.sample_rate}; leave it out."
        )
    rate = model.sample_rate or frozen.rate
    if rate is None:
        raise FlagNeededError(
            f"The model {frozen.handle} does not declare its samples per second; give --sample_rate, such as "
            f"--sample_rate={_RATES}."
        )
    return rate
