"""Damages images byte by byte and decodes them: python -m tests.support.fuzz_decoding FOLDER --count 1000 [--seed 0].

Prints as JSON, for each format, how many images gave pixels and how many gave which error class. It also prints the
longest time for one image and the peak memory. An image that exceeds the time limit ends the process with a traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from beam_job.core.errors import ExampleError
from beam_job.core.values import ImageSize
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.policy import DecodePolicy

SIZE = ImageSize(64, 64)
LIMIT_SECONDS = 20
# Pillow's format, the mode of the image, and Pillow's settings.
FORMATS: dict[str, tuple[str, str, dict[str, object]]] = {
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


def encoded(image: Image.Image, name: str) -> bytes:
    """The image in one of the formats."""
    kind, mode, settings = FORMATS[name]
    converted = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    buffer = io.BytesIO()
    converted.save(buffer, kind, **settings)
    return buffer.getvalue()


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 200))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _cut_out(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 300)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randrange(1, 300)]


def _overwrite(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = rng.randbytes(rng.randrange(1, 64))
    data[start : start + len(piece)] = piece


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _flip_header,
    _truncate,
    _cut_out,
    _repeat,
    _overwrite,
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes, damaged one to three times."""
    copy = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if len(copy) > 1:
            rng.choice(DAMAGES)(copy, rng)
    return bytes(copy)


def main() -> None:
    """Damages and decodes images, and prints the outcomes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="Directory of photographs, *.jpg at any depth.")
    parser.add_argument("--count", type=int, default=100, help="Number of damaged images for each format.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    paths = sorted(Path(arguments.folder).rglob("*.jpg"))
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in FORMATS}
    longest = 0.0
    for name in FORMATS:
        originals = []
        for path in rng.sample(paths, min(len(paths), 8)):
            with Image.open(path) as image:
                originals.append(encoded(image.resize((96, 72)), name))
        for _ in range(arguments.count):
            data = damaged(rng.choice(originals), rng)
            faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
            start = time.perf_counter()
            try:
                pixels = decode_image(data, SIZE, DecodePolicy())
            except ExampleError as error:
                outcomes[name][type(error).__name__] += 1
            else:
                assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.float32)
                assert pixels.min() >= 0 and pixels.max() <= 255
                outcomes[name]["pixels"] += 1
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
