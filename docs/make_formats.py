"""Prints docs/formats.md: which image formats are read, tried with the Pillow that is installed."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from beam_job.core.errors import DecodeError
from beam_job.core.values import ImageSize, ValueRange
from beam_job.modalities.image.decoding import decode_pixels
from beam_job.modalities.image.jpeg import JPEG_SUFFIXES
from beam_job.modalities.image.jpeg_xl import JPEG_XL_SUFFIXES
from beam_job.modalities.image.pillow_formats import FORMATS, HEIF_SUFFIXES, TARGA_SUFFIXES
from beam_job.modalities.image.policy import DecodePolicy

MODES = {
    "1": "black and white",
    "L": "gray",
    "I;16": "16-bit gray",
    "F": "floating-point gray",
    "P": "palette",
    "LA": "gray with alpha",
    "RGB": "color",
    "RGBA": "color with alpha",
    "CMYK": "CMYK",
}
SIDE = 16
POLICY = DecodePolicy(float_range=ValueRange(0, 255))

PAGE = """# Image formats

What a file is, its first bytes tell, not its name. In a class folder the suffix decides which files are examples; files
with other suffixes are counted and told. A manifest or a glob takes every file that it names.

| format | suffixes | kinds that Pillow writes and that are read |
|---|---|---|
{rows}

HEIC and JPEG XL need an extra: `pip install "beam_job[heic]"` or `pip install "beam_job[jxl]"`. Without it, their files
are passed over in class folders, and become error rows that say so elsewhere. Of an animation, or a file of several
images, the first image is read; of an icon, the largest.

Whatever is no image, such as a page of HTML, a drawing in SVG, a video, an archive, or a Git LFS pointer, becomes an
error row that names it. So do the formats of Pillow that are not in the table, because their decoders start other
programs (EPS, PDF, WMF), they have no signature of their own, or nobody keeps photographs in them.

## What is made of the pixels

- **Transparency** is composited on white, also that of one colour of a PNG, at the PNG's own depth.
- **Orientation** is applied as EXIF tells it.
- **Gray of 12 or 16 bits** keeps its precision. Of colours of 16 bits, the upper 8 are used, as TensorFlow does.
- **TIFF whose zero is white** is inverted. A TIFF of more bands than colour and alpha is an error row.
- **Floating-point pixels** need `--float_range`, such as `--float_range=0,1`: the file does not tell its range.
- **Damage** is an error row, never other pixels: a wrong checksum in a PNG, a file that ends too early. Chunks and
  segments that say nothing of the pixels may be damaged.

## JPEG

The pixels of a JPEG are those of `tf.io.decode_jpeg`, bit for bit, also where libjpeg warns: odd versions of JFIF,
bytes between segments, wrong restart markers, codes that do not exist. What TensorFlow refuses is an error row. CMYK
and YCCK are converted as TensorFlow does, inverted where Adobe's marker says so.

This is tested with small JPEGs whose segments are changed at random. Of {searched}, {equal} gave equal pixels, and
{refused_by_both} were refused by both. The exceptions:

- A progressive JPEG whose scans leave low frequencies incomplete may differ, by up to 14 of 255 levels ({smoothed} of
  them): libjpeg smooths the blocks of such images, and version 2.1.4, which TensorFlow 2.21 has, does it in another way
  than version 3.1.2, which simplejpeg 1.9 has.
- A file whose end is within, or is taken in by, a table behind its last scan is refused, like every JPEG without an
  end; TensorFlow decodes it ({no_end} of them).
- TensorFlow refuses a JPEG of more than 2^29 samples. Here, `--max_image_pixels` decides.
"""
# From: python -m tests.support.fuzz_jpeg --count 200000 --first 2000000
SEARCH = {"searched": "200,000", "equal": "80,892", "refused_by_both": "117,172", "smoothed": "477", "no_end": "92"}


def main() -> None:
    """Tries all formats and prints the page."""
    Image.init()
    read = {"JPEG": JPEG_SUFFIXES, **FORMATS, "TGA": TARGA_SUFFIXES}
    rows = [_row(name, suffixes, ", ".join(_kinds(name)) or "not written by Pillow") for name, suffixes in read.items()]
    rows.append(_row("HEIC", HEIF_SUFFIXES, "with an extra"))
    rows.append(_row("JPEG XL", JPEG_XL_SUFFIXES, "with an extra"))
    print(PAGE.format(rows="\n".join(rows), **SEARCH), end="")


def _row(name: str, suffixes: tuple[str, ...], kinds: str) -> str:
    return f"| {name} | {' '.join(f'`{suffix}`' for suffix in suffixes)} | {kinds} |"


def _kinds(name: str) -> list[str]:
    """The kinds of image that Pillow writes in a format and that are read again."""
    kinds = []
    for mode, words in MODES.items():
        file = io.BytesIO()
        try:
            with warnings.catch_warnings(action="ignore"):
                _image().convert("L" if mode in ("I;16", "F") else mode).convert(mode).save(file, name)
        except (OSError, KeyError, ValueError):
            continue
        with Image.open(io.BytesIO(file.getvalue())) as image:
            kept = image.mode == mode or (mode == "I;16" and image.mode.startswith("I"))
        if not kept:
            continue
        try:
            decode_pixels(file.getvalue(), ImageSize(1, 1), POLICY)
        except DecodeError as error:
            raise SystemExit(f"{name} of mode {mode} is written by Pillow and not read: {error}") from None
        kinds.append(words)
    return kinds


def _image() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    return Image.fromarray(values)


if __name__ == "__main__":
    main()
