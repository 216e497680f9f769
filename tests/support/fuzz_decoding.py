"""Damages files byte by byte and decodes them: python -m tests.support.fuzz_decoding MODALITY --count 1000 [--seed 0].

Prints as JSON, for each format, how many files gave an example and how many gave which error class. It also prints the
longest time for one file and the peak memory. A file that exceeds the time limit ends the process with a traceback.
"""

from __future__ import annotations

import argparse
import codecs
import faulthandler
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from beam_job.core.errors import ExampleError
from beam_job.core.values import ImageSize
from beam_job.modalities.audio.decoding import decode_sound
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.policy import DecodePolicy
from beam_job.modalities.image.samples import PHOTOGRAPHS
from beam_job.modalities.text.modality import TextModality
from tests.support.damage import damaged
from tests.support.sounds import encode, tone

SIZE, RATE, LONGEST_SOUND, LONGEST_TEXT = ImageSize(64, 64), 16_000, 30.0, 4000
LIMIT_SECONDS = 20
GOOD = "decoded"
# Pillow's format, the mode of the image, and Pillow's settings.
IMAGES: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg-progressive": ("JPEG", "RGB", {"progressive": True}),
    "jpeg-cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "png-palette": ("PNG", "P", {}),
    "png-alpha": ("PNG", "RGBA", {}),
    "png-16": ("PNG", "I;16", {}),
    "webp": ("WEBP", "RGB", {}),
    "webp-lossless": ("WEBP", "RGBA", {"lossless": True}),
    "bmp": ("BMP", "RGB", {}),
    "gif": ("GIF", "P", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff-lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate"}),
}


# libsndfile's format and subtype, the rate and the channels.
SOUNDS: dict[str, tuple[str, str, int, int]] = {
    "wav-8": ("WAV", "PCM_U8", 16_000, 1),
    "wav-16": ("WAV", "PCM_16", 44_100, 2),
    "wav-24": ("WAV", "PCM_24", 16_000, 8),
    "wav-float": ("WAV", "FLOAT", 22_050, 1),
    "wav-adpcm": ("WAV", "MS_ADPCM", 16_000, 1),
    "flac": ("FLAC", "PCM_16", 44_100, 2),
    "ogg-vorbis": ("OGG", "VORBIS", 44_100, 1),
    "ogg-opus": ("OGG", "OPUS", 48_000, 2),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100, 1),
    "aiff": ("AIFF", "PCM_16", 16_000, 2),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1")
TEXTS = ("A cat sat on a mat.\n", "\u00fcber alles \u4f60\u597d \U0001f600 ", "caf\u00e9, na\u00efve\r\n")


def encoded(image: Image.Image, name: str) -> bytes:
    """The image in one of the formats."""
    kind, mode, settings = IMAGES[name]
    converted = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    buffer = io.BytesIO()
    converted.save(buffer, kind, **settings)
    return buffer.getvalue()


def check_image(data: bytes) -> None:
    pixels = decode_image(data, SIZE, DecodePolicy())
    assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.float32)
    assert pixels.min() >= 0 and pixels.max() <= 255


def check_sound(data: bytes) -> None:
    samples = decode_sound(data, RATE, LONGEST_SOUND)
    assert (samples.ndim, samples.dtype) == (1, np.float32)
    assert 0 < len(samples) <= RATE * LONGEST_SOUND * 1.01
    assert np.isfinite(samples).all()


def check_text(data: bytes) -> None:
    modality = TextModality(LONGEST_TEXT)
    text = modality.prepare(data).item()
    assert text == data.removeprefix(codecs.BOM_UTF8)
    assert len(text) <= LONGEST_TEXT
    text.decode("utf-8")


def _images() -> dict[str, list[bytes]]:
    photographs = [PHOTOGRAPHS[name].open().resize((96, 72)) for name in ("cat", "coffee", "rocket", "flower")]
    return {name: [encoded(photograph, name) for photograph in photographs] for name in IMAGES}


def _sounds() -> dict[str, list[bytes]]:
    return {
        name: [encode(tone(seconds, 1, rate, channels), rate, kind, subtype) for seconds in (0.1, 0.5)]
        for name, (kind, subtype, rate, channels) in SOUNDS.items()
    }


def _texts() -> dict[str, list[bytes]]:
    return {name: [(text * count).encode(name, "ignore") for text in TEXTS for count in (1, 40)] for name in ENCODINGS}


# Modality to the files of each format that are damaged, and to the check of what comes of them.
SEARCHES: Mapping[str, tuple[Callable[[], dict[str, list[bytes]]], Callable[[bytes], None]]] = {
    "image": (_images, check_image),
    "audio": (_sounds, check_sound),
    "text": (_texts, check_text),
}


def main() -> None:
    """Damages and decodes files, and prints the outcomes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("modality", choices=SEARCHES)
    parser.add_argument("--count", type=int, default=100, help="Number of damaged files for each format.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    files, check = SEARCHES[arguments.modality]
    outcomes: dict[str, Counter[str]] = {}
    longest = 0.0
    for name, originals in files().items():
        outcomes[name] = Counter()
        for _ in range(arguments.count):
            data = damaged(rng.choice(originals), rng)
            faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
            start = time.perf_counter()
            try:
                check(data)
            except ExampleError as error:
                assert "\n" not in str(error), error
                outcomes[name][type(error).__name__] += 1
            else:
                outcomes[name][GOOD] += 1
            faulthandler.cancel_dump_traceback_later()
            longest = max(longest, time.perf_counter() - start)
    summary = {"outcomes": outcomes, "longest_seconds": round(longest, 3), "peak_megabytes": round(_peak_megabytes())}
    print(json.dumps(summary))


def _peak_megabytes() -> float:
    """The peak memory of this process alone. That of getrusage includes the memory of the parent at the fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("the system does not report the peak memory")


if __name__ == "__main__":
    main()
