from __future__ import annotations

import base64
import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_job.core.errors import (
    CorruptExampleError,
    DecodeError,
    EmptyFileError,
    ExampleTooLargeError,
    FlagNeededError,
    ModelError,
    UnknownFormatError,
)
from beam_job.core.option_fields import group_of
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Shape
from beam_job.modalities.audio.decoding import decode_sound
from beam_job.modalities.audio.modality import AudioModality
from beam_job.modalities.audio.windows import windows_of
from beam_job.modalities.base import FrozenInput, InputRequest, ModelInput
from beam_job.modalities.selection import find_modality
from tests.modalities.contract import ModalityContract
from tests.support.sounds import RATE, decoded, encode, tone
from tests.support.zoo.sounds import windows

LIMIT = 600.0
EPSILON16 = 2**-15
# Format, subtype and channels, and how far the samples may be from those that were written.
WRITTEN = {
    "wav-8": ("WAV", "PCM_U8", 1, 2**-7),
    "wav-16": ("WAV", "PCM_16", 2, EPSILON16),
    "wav-24": ("WAV", "PCM_24", 8, 2**-23),
    "wav-32": ("WAV", "PCM_32", 1, 2**-23),
    "wav-float": ("WAV", "FLOAT", 2, 1e-6),
    "wav-double": ("WAV", "DOUBLE", 1, 1e-6),
    "wav-ulaw": ("WAV", "ULAW", 1, 0.03),
    "flac-16": ("FLAC", "PCM_16", 2, EPSILON16),
    "flac-24": ("FLAC", "PCM_24", 1, 2**-23),
    "aiff": ("AIFF", "PCM_16", 2, EPSILON16),
    "ogg-vorbis": ("OGG", "VORBIS", 1, 0.05),
    "ogg-opus": ("OGG", "OPUS", 2, 0.05),
    "mp3": ("MP3", "MPEG_LAYER_III", 1, 0.05),
}


def modality_for(shape: Shape = (None,), dtype: str = "float32", **options: str) -> AudioModality:
    model = group_of(ModelOptions, {"sample_rate": str(RATE), **options})
    declared = ModelInput("waveform", dtype, (None, *shape))
    return AudioModality.of(FrozenInput("m", shape, declared), model, DecodeOptions())


class TestWholeRecordings(ModalityContract):
    @pytest.fixture
    def modality(self) -> AudioModality:
        return modality_for()

    @pytest.fixture
    def shape(self) -> Shape:
        return (None,)

    @pytest.fixture
    def contents(self) -> list[bytes]:
        return [encode(tone(0.5)), encode(tone(0.7, 1, 44_100), 44_100, "FLAC")]


class TestWindows(TestWholeRecordings):
    @pytest.fixture
    def modality(self) -> AudioModality:
        return modality_for((4000,), audio_hop="0.125", normalize_audio="peak")

    @pytest.fixture
    def shape(self) -> Shape:
        return (4000,)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float32", (None,)),
        ("float32", (15_600,)),
        ("float32", (None, None)),
        ("float16", (None, 43_844, 1)),
        ("int16", (None, 16_000)),
    ],
)
def test_models_of_sounds(dtype: str, shape: Shape) -> None:
    assert find_modality(ModelInput("x", dtype, shape)) is AudioModality


@pytest.mark.parametrize(
    ("dtype", "shape", "may"),
    [
        ("float32", (None, 10), True),
        ("float32", (None, 1024), True),
        ("float32", None, True),
        ("float32", (None, 16_000, 2), False),
        ("int32", (None, 128), False),
        ("string", (None,), False),
    ],
)
def test_models_that_are_of_sounds_only_if_the_user_says_so(dtype: str, shape: Shape | None, may: bool) -> None:
    declared = ModelInput("x", dtype, shape)
    assert find_modality(declared) is not AudioModality
    assert (find_modality(declared, "audio") is AudioModality) is may


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_gives_the_samples_that_were_written(name: str) -> None:
    kind, subtype, channels, tolerance = WRITTEN[name]
    rate = 48_000 if subtype == "OPUS" else RATE
    samples = tone(1.0, 3, rate, channels)
    found = decode_sound(encode(samples, rate, kind, subtype), rate, LIMIT)
    mono = samples.mean(axis=1) if channels > 1 else samples
    assert found.dtype == np.float32
    assert found.shape == mono.shape
    differences = np.abs(found - mono)
    # Opus and Vorbis change the shape of a wave where it ends.
    assert (np.sqrt(np.mean(differences**2)) if kind in ("OGG", "MP3") else differences.max()) <= tolerance


@pytest.mark.parametrize("channels", range(1, 13))
def test_channels_are_averaged_as_numpy_does(channels: int) -> None:
    samples = np.random.default_rng(channels).uniform(-1, 1, (5000, channels)).astype(np.float32)
    content = encode(samples[:, 0] if channels == 1 else samples, RATE, "WAV", "FLOAT")
    np.testing.assert_array_equal(decode_sound(content, RATE, LIMIT), samples.mean(axis=1))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_long_file_is_decoded_as_if_at_once(kind: str, channels: int) -> None:
    content = encode(tone(41.7, 6, RATE, channels), RATE, kind)
    np.testing.assert_array_equal(decode_sound(content, RATE, LIMIT), decoded(content))


@pytest.mark.parametrize("before", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_in_blocks_equals_resampling_at_once(before: int) -> None:
    content = encode(tone(7.3, 4, before, 2), before, "WAV", "FLOAT")
    np.testing.assert_array_equal(decode_sound(content, RATE, LIMIT), decoded(content))


def test_sixteen_bits_come_back_as_they_were() -> None:
    whole = np.array([-32768, -1, 0, 1, 32767] * 1000, np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, RATE, "PCM_16", format="WAV")
    np.testing.assert_array_equal(modality_for(dtype="int16").prepare(file.getvalue()), whole)


SOUND = tone(0.5)
WAV = encode(SOUND)


def with_length(length: int) -> bytes:
    """A WAV file whose header says that there are so many bytes of samples."""
    place = WAV.index(b"data") + 4
    return WAV[:place] + struct.pack("<I", length) + WAV[place + 4 :]


BAD = {
    "empty": (b"", EmptyFileError, "found an empty file"),
    "page": (b"<!doctype html><html>", UnknownFormatError, "expected WAV, FLAC, OGG, MP3 or AIFF, found a file that"),
    "silent": (encode(np.zeros(RATE, np.float32)), EmptyFileError, "found only silence"),
    "no samples": (encode(np.zeros(0, np.float32)), EmptyFileError, "found none"),
    "nan": (encode(np.array([0.1, np.nan], np.float32), subtype="FLOAT"), CorruptExampleError, "found NaN or infinity"),
    "header": (WAV[:30], CorruptExampleError, "truncated|cannot be decoded"),
    "announced": (
        with_length(len(WAV) * 2),
        CorruptExampleError,
        r"expected the whole WAV file.*truncated by \d+ bytes",
    ),
    "long": (encode(tone(601, rate=8000), 8000), ExampleTooLargeError, "at most 600 s, found 601.0 s; see --max_audio"),
    **{
        f"half {kind} {subtype}": (content[: len(content) // 2], CorruptExampleError, "expected|cannot be decoded")
        for kind, subtype in (
            ("WAV", "PCM_16"),
            ("FLAC", "PCM_16"),
            ("OGG", "VORBIS"),
            ("MP3", None),
            ("AIFF", "PCM_16"),
        )
        for content in [encode(tone(3.0), RATE, kind, subtype)]
    },
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_sound_is_an_error_of_the_example(name: str) -> None:
    content, error, message = BAD[name]
    with pytest.raises(error, match=message) as caught:
        decode_sound(content, RATE, LIMIT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 36, 0x7FFFFF00])
def test_a_file_that_was_written_to_a_pipe_does_not_know_its_length(length: int) -> None:
    found = decode_sound(with_length(length), RATE, LIMIT)
    np.testing.assert_allclose(found[: len(SOUND)], SOUND, atol=EPSILON16)


def test_a_flac_that_was_written_to_a_pipe_is_decoded_to_its_end() -> None:
    content = bytearray(encode(tone(41.7, 6), RATE, "FLAC"))
    content[21] &= 0xF0  # the number of samples in STREAMINFO, 36 bits
    content[22:26] = bytes(4)
    np.testing.assert_array_equal(
        decode_sound(bytes(content), RATE, LIMIT), decoded(encode(tone(41.7, 6), RATE, "FLAC"))
    )
    with pytest.raises(ExampleTooLargeError):
        decode_sound(bytes(content), RATE, 30.0)


def test_a_compressed_flood_of_silence_and_one_click_is_too_long() -> None:
    samples = np.zeros(RATE * 700, np.float32)
    samples[5] = 0.5
    content = encode(samples, RATE, "FLAC")
    assert len(content) < 1 << 20
    with pytest.raises(ExampleTooLargeError):
        decode_sound(content, RATE, LIMIT)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.data())
def test_windows_equal_those_of_a_plain_loop(count: int, length: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, length))
    samples = np.arange(1, count + 1, dtype=np.float32)
    found = windows_of(samples, length, hop)
    np.testing.assert_array_equal(found, windows(samples, length, hop))
    assert set(samples) <= set(found.ravel())  # no sample is lost


@settings(deadline=None, max_examples=2000)
@given(
    st.binary(max_size=200),
    st.sampled_from((b"", WAV[:44], b"fLaC\0\0\0\x22", b"OggS\0\x02", b"FORM\0\0\0\x10AIFF", b"ID3")),
)
def test_any_bytes_are_a_sound_or_an_error_of_the_example(content: bytes, head: bytes) -> None:
    try:
        found = decode_sound(head + content, RATE, 1.0)
    except DecodeError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(found).all()
    AudioModality.recognises(head + content)


@pytest.mark.parametrize("normalize", ["none", "peak", "standard"])
@pytest.mark.parametrize("shape", [(None,), (5000,)], ids=["whole", "windows"])
def test_a_served_model_prepares_as_the_job_does(shape: Shape, normalize: str) -> None:
    modality = modality_for(shape, normalize_audio=normalize)
    content = encode(tone(1.1, 5, channels=2), RATE, "WAV", "PCM_16")
    found = modality.serve(tf.constant([content])).numpy()
    expected = modality.prepare(content)
    np.testing.assert_allclose(found, expected if shape[0] else expected[np.newaxis], rtol=1e-6, atol=1e-6)
    other = encode(tone(1.1, 5, 44_100), 44_100, "FLAC")
    served = modality.serve(tf.constant([modality.as_served(other)])).numpy()
    np.testing.assert_allclose(served.ravel(), modality.prepare(other).ravel(), atol=20 * EPSILON16)
    with pytest.raises(tf.errors.InvalidArgumentError, match="only silence"):
        modality.serve(tf.constant([encode(np.zeros(RATE, np.float32))]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="16000 samples per second"):
        modality.serve(tf.constant([encode(tone(1, rate=8000), 8000)]))


def shaped(shape: Shape, declared: int | None = None, **options: str) -> AudioModality:
    model = group_of(ModelOptions, options)
    request = InputRequest("m", window=model.audio_window, rate=model.sample_rate or declared)
    own = ModelInput("waveform", "float32", shape)
    frozen = FrozenInput("m", AudioModality.input_shape(own, request), own, rate=declared)
    return AudioModality.of(frozen, model, DecodeOptions())


def test_the_rate_is_the_one_that_is_declared_or_given() -> None:
    assert shaped((None,), declared=22_050).rate == 22_050
    assert shaped((None,), sample_rate="8000").rate == 8000
    assert shaped((None,), declared=16_000, sample_rate="16000").rate == 16_000
    with pytest.raises(FlagNeededError, match="give --sample_rate, such as --sample_rate=16000"):
        shaped((None,))
    with pytest.raises(ModelError, match="takes 16000 samples per second, found --sample_rate=8000"):
        shaped((None,), declared=16_000, sample_rate="8000")


def test_windows_are_what_the_model_fixes_or_what_is_given() -> None:
    fixed = shaped((None, 16_000), declared=16_000)
    assert (fixed.window, fixed.hop) == (16_000, 16_000)
    given_ = shaped((None, None), declared=16_000, audio_window="2", audio_hop="0.5")
    assert (given_.window, given_.hop) == (32_000, 8000)
    assert shaped((None, None), declared=16_000).window is None
    with pytest.raises(ModelError, match=r"takes windows of 16000 samples, found --audio_window=2, which are 32000"):
        shaped((None, 16_000), declared=16_000, audio_window="2")
    with pytest.raises(ModelError, match="--audio_window with --audio_hop"):
        shaped((None, None), declared=16_000, audio_hop="1")
    with pytest.raises(ModelError, match=r"--audio_hop of at most 1 s, .* found 2 s"):
        shaped((None, 16_000), declared=16_000, audio_hop="2")
    with pytest.raises(FlagNeededError, match="give --sample_rate too"):
        shaped((None, None), audio_window="2")


def test_whole_numbers_have_no_deviation_of_one() -> None:
    with pytest.raises(ModelError, match="takes whole numbers, which --normalize_audio=standard does not give"):
        modality_for(dtype="int16", normalize_audio="standard")


def test_a_preview_is_a_short_mp3_file() -> None:
    preview = AudioModality.preview(encode(tone(5.0, rate=44_100, channels=2), 44_100, "OGG"))
    assert preview is not None
    assert preview.kind == "audio"
    kind, _, encoded = preview.content.partition(";base64,")
    assert kind == "data:audio/mpeg"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.2)
    assert len(encoded) < 8000  # a page holds thousands of them
    assert AudioModality.preview(b"no sound") is None
