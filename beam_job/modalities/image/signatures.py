"""What bytes are when they are no image that can be decoded, in words for the person who reads the error row."""

from __future__ import annotations

from typing import NamedTuple

_TEXT_BYTES = 256
_SHOWN = 40
_BRAND = slice(8, 12)
_DECODER_THAT_RUNS = "which is not decoded because that starts another program"


class Signature(NamedTuple):
    """Bytes at a place, and the name of what has them."""

    place: int
    mark: bytes
    name: str


_SIGNATURES = (
    Signature(0, b"%PDF-", f"a PDF document, {_DECODER_THAT_RUNS}"),
    Signature(0, b"%!PS", f"a PostScript (EPS) file, {_DECODER_THAT_RUNS}"),
    Signature(0, b"\xc5\xd0\xd3\xc6", f"a PostScript (EPS) file, {_DECODER_THAT_RUNS}"),
    Signature(0, b"\xd7\xcd\xc6\x9a", f"a Windows metafile (WMF), {_DECODER_THAT_RUNS}"),
    Signature(40, b" EMF", f"a Windows metafile (EMF), {_DECODER_THAT_RUNS}"),
    Signature(0, b"version https://git-lfs", "a Git LFS pointer instead of the file; fetch it with: git lfs pull"),
    Signature(0, b"\x1f\x8b", "a gzip file"),
    Signature(0, b"PK\x03\x04", "a zip archive, or a document in one"),
    Signature(0, b"BZh", "a bzip2 file"),
    Signature(0, b"\xfd7zXZ\0", "an xz file"),
    Signature(0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    Signature(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    Signature(0, b"Rar!", "a RAR archive"),
    Signature(257, b"ustar", "a tar archive"),
    Signature(0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    Signature(0, b"\0\0\1\xba", "a video (MPEG)"),
    Signature(8, b"AVI ", "a video (AVI)"),
    Signature(8, b"WAVE", "a sound (WAV)"),
    Signature(0, b"FLV", "a video (Flash)"),
    Signature(0, b"OggS", "a sound or video (Ogg)"),
    Signature(0, b"fLaC", "a sound (FLAC)"),
    Signature(0, b"ID3", "a sound (MP3)"),
    Signature(128, b"DICM", "a DICOM file"),
    Signature(0, b"\x93NUMPY", "a NumPy array"),
    Signature(0, b"\x89HDF", "an HDF5 file"),
    Signature(0, b"PAR1", "a Parquet file"),
    Signature(0, b"v/1\x01", "an OpenEXR image"),
    Signature(0, b"#?RADIANCE", "a Radiance HDR image"),
    Signature(0, b"FUJIFILMCCD-RAW", "a raw image of a camera (RAF)"),
    Signature(0, b"SIMPLE  =", "a FITS file"),
    Signature(0, b"gimp xcf", "a GIMP image (XCF)"),
)
# The brands of ISO base media files (ISO/IEC 14496-12); all others are videos.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_RAW_BRANDS = (b"crx ",)


# Images of which a few bytes leave no doubt: PNG, GIF, JPEG 2000, QOI, Photoshop.
SURE_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"qoif",
    b"8BPS\0\1",
)


def is_avif(data: bytes) -> bool:
    """Whether the bytes are an AVIF image."""
    return data[4:8] == b"ftyp" and data[_BRAND] in _AVIF_BRANDS


def is_heic(data: bytes) -> bool:
    """Whether the bytes are an image in HEIF's container, other than AVIF."""
    return data[4:8] == b"ftyp" and data[_BRAND] in _HEIC_BRANDS


def describe(data: bytes) -> str:
    """What the bytes are, as far as their beginning tells: the end of a sentence that starts with "found"."""
    for place, mark, name in _SIGNATURES:
        if data.startswith(mark, place):
            return name
    if data[4:8] == b"ftyp":
        return _iso_media(data[_BRAND])
    return _text(data[:_TEXT_BYTES]) or _unknown(data)


def _iso_media(brand: bytes) -> str:
    if brand in _HEIC_BRANDS:
        return "a HEIC image"
    if brand in _AVIF_BRANDS:
        return "an AVIF image, which this Pillow cannot decode"
    return "a raw image of a camera (CR3)" if brand in _RAW_BRANDS else "a video (MP4 or QuickTime)"


def _text(start: bytes) -> str | None:
    """What a text is, from its beginning; None for bytes that are no text."""
    text = start.decode("utf-8", "ignore").removeprefix("\ufeff").strip()
    plain = text.lower()
    if plain.startswith(("<!doctype html", "<html")):
        return "an HTML page, perhaps an error page of a server"
    if "<svg" in plain:
        return "an SVG drawing, which has no pixels"
    if not text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    if len(text.encode()) < len(start.strip()) - 3:  # more was left out than a character that is cut off
        return None
    return f"text that begins with {' '.join(text.split())[:_SHOWN]!r}"


def _unknown(data: bytes) -> str:
    if not data.strip(b"\0"):
        return f"{len(data)} bytes of zero"
    return f"bytes of no known format, which begin with {data[:8].hex(' ')}"
