"""Changes JPEGs segment by segment, and compares with TensorFlow: python -m tests.support.fuzz_jpeg --count 10000.

Prints as JSON how many gave equal pixels, were refused by both, and so on, with the seeds of the faults.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from beam_job.core.errors import DecodeError, ExampleTooLargeError
from beam_job.core.values import ImageSize
from beam_job.modalities.image.jpeg import JPEG_MAGIC, decode_jpeg
from beam_job.modalities.image.jpeg_segments import read_frame, segments
from beam_job.modalities.image.policy import DecodePolicy
from tests.support.images import encode, photograph

POLICY = DecodePolicy(max_pixels=1 << 20)
SOI, EOI, SOS, TABLES = 0xD8, 0xD9, 0xDA, (0xC4, 0xDB)
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
SEEDS_PRINTED = 20
# The largest difference, of 255 levels, that two versions of libjpeg-turbo make when they smooth the blocks of a
# progressive image with incomplete scans.
SMOOTHING = 14
# What docs/formats.md tells of: the pixels, a refusal, and the exceptions.
EXPECTED = frozenset(("equal", "refused by both", "too large", "no end, only TensorFlow", "smoothed otherwise"))


class Part(NamedTuple):
    """A segment as it is written: the marker, what its length says, its content, and for a scan the coded data."""

    marker: int
    length: int | None
    content: bytes
    scan: bytes = b""

    def encoded(self) -> bytes:
        length = b"" if self.length is None else (self.length % 65_536).to_bytes(2, "big")
        return bytes((0xFF, self.marker)) + length + self.content + self.scan


class Junk(NamedTuple):
    """Bytes between segments."""

    content: bytes

    def encoded(self) -> bytes:
        return self.content


Parts = list[Part | Junk]


def originals() -> Iterator[bytes]:
    """Sound JPEGs of every kind that Pillow writes, and some that it does not."""
    sizes = ((24, 40), (33, 17), (50, 61))
    kinds: tuple[tuple[str | None, dict[str, object]], ...] = (
        (None, {}),
        (None, {"subsampling": 0}),
        (None, {"subsampling": 1}),
        (None, {"progressive": True}),
        (None, {"restart_marker_blocks": 2}),
        (None, {"keep_rgb": True}),
        (None, {"optimize": True, "quality": 30}),
        (None, {"progressive": True, "restart_marker_rows": 1, "quality": 95}),
        ("L", {}),
        ("L", {"progressive": True}),
        ("CMYK", {}),
        ("CMYK", {"progressive": True, "subsampling": 2}),
    )
    exif = Image.Exif()
    exif[0x010F] = "maker"
    for number, (mode, settings) in enumerate(kinds):
        data = encode(photograph(*sizes[number % 3], number), "JPEG", mode, exif=exif, **settings)
        yield data
        if mode == "CMYK":
            yield b"".join(part.encoded() for part in parts_of(data) if isinstance(part, Part) and part.marker != 0xEE)


def parts_of(data: bytes) -> Parts:
    """The segments of a sound JPEG."""
    parts: Parts = []
    place = 0
    while place < len(data):
        marker = data[place + 1]
        if marker in (SOI, EOI):
            parts.append(Part(marker, None, b""))
            place += 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        end = place + 2 + length
        content, scan_end = data[place + 4 : end], end
        if marker == SOS:
            while data[scan_end] != 0xFF or data[scan_end + 1] == 0 or 0xD0 <= data[scan_end + 1] < 0xD8:
                scan_end += 1
        parts.append(Part(marker, length, content, data[end:scan_end]))
        place = scan_end
    return parts


def _place(parts: Parts, rng: random.Random) -> int:
    return rng.randrange(1, len(parts)) if len(parts) > 1 else 0


def _segment(parts: Parts, rng: random.Random) -> int | None:
    places = [place for place, part in enumerate(parts) if isinstance(part, Part) and part.length is not None]
    return rng.choice(places) if places else None


def _replace(parts: Parts, place: int | None, change: Callable[[Part], Part]) -> None:
    if place is not None:
        part = parts[place]
        assert isinstance(part, Part)
        parts[place] = change(part)


def _change_length(parts: Parts, rng: random.Random) -> None:
    step = rng.choice((-2, -1, 1, 2, 3, 10, 300, rng.randrange(65_536)))
    _replace(parts, _segment(parts, rng), lambda part: part._replace(length=(part.length or 0) + step))


def _change_marker(parts: Parts, rng: random.Random) -> None:
    marker = rng.choice((*range(0xC0, 0x100), 1, 2, 0x80))
    _replace(parts, _segment(parts, rng), lambda part: part._replace(marker=marker))


def _changed_byte(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    place = rng.randrange(len(content))
    return content[:place] + bytes((rng.choice((0, 1, 2, 255, rng.randrange(256))),)) + content[place + 1 :]


def _change_content(parts: Parts, rng: random.Random) -> None:
    _replace(parts, _segment(parts, rng), lambda part: part._replace(content=_changed_byte(part.content, rng)))


def _change_kind(markers: Iterator[int] | range | tuple[int, ...]) -> Callable[[Parts, random.Random], None]:
    """Changes a byte of a segment with one of these markers."""
    wanted = frozenset(markers)

    def change(parts: Parts, rng: random.Random) -> None:
        places = [place for place, part in enumerate(parts) if isinstance(part, Part) and part.marker in wanted]
        if places:
            _replace(parts, rng.choice(places), lambda part: part._replace(content=_changed_byte(part.content, rng)))

    return change


def _resize_content(parts: Parts, rng: random.Random) -> None:
    def change(part: Part) -> Part:
        content = part.content[: rng.randrange(len(part.content) + 1)] if rng.random() < 0.5 else part.content + b"\0\1"
        return part._replace(content=content, length=len(content) + 2)

    _replace(parts, _segment(parts, rng), change)


def _swap(parts: Parts, rng: random.Random) -> None:
    one, other = _place(parts, rng), _place(parts, rng)
    parts[one], parts[other] = parts[other], parts[one]


def _drop(parts: Parts, rng: random.Random) -> None:
    del parts[_place(parts, rng)]


def _double(parts: Parts, rng: random.Random) -> None:
    parts.insert(_place(parts, rng), parts[_place(parts, rng)])


def _insert_junk(parts: Parts, rng: random.Random) -> None:
    junk = rng.choice(
        (b"\0", b"\0" * 90, b"\xff" * 3, b"\xff\0", b"text\r\n", rng.randbytes(7), b"\xff\xd3", b"\xff\x01")
    )
    parts.insert(_place(parts, rng), Junk(junk))


def _insert_segment(parts: Parts, rng: random.Random) -> None:
    content = rng.choice(
        (
            b"",
            b"Adobe\0\x64\0\0\0\0" + bytes((rng.randrange(4),)),
            b"JFIF\0" + rng.randbytes(9),
            b"JFXX\0\x10",
            b"ICC_PROFILE\0\1\1damaged",
            b"Exif\0\0II*\0",
            b"\xff\xd9" * 4,
            rng.randbytes(20),
        )
    )
    marker = rng.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xDC, 0xDD))
    parts.insert(_place(parts, rng), Part(marker, len(content) + 2, content))


def _change_scan(parts: Parts, rng: random.Random) -> None:
    places = [place for place, part in enumerate(parts) if isinstance(part, Part) and part.scan]
    if not places:
        return

    def change(part: Part) -> Part:
        scan = part.scan
        start = rng.randrange(len(scan))
        end = min(len(scan), start + rng.choice((1, 2, 30)))
        new = rng.choice(
            (b"", b"\0" * (end - start), rng.randbytes(end - start), b"\xff\xd2", b"\xff\0", scan[start:] * 2)
        )
        return part._replace(scan=scan[:start] + new + scan[end:])

    _replace(parts, rng.choice(places), change)


CHANGES: tuple[Callable[[Parts, random.Random], None], ...] = (
    _change_length,
    _change_marker,
    _change_content,
    _change_kind(range(0xC0, 0xC4)),
    _change_kind((0xE0, 0xEE)),
    _change_kind((SOS,)),
    _change_kind((0xC4, 0xDB, 0xDD)),
    _resize_content,
    _swap,
    _drop,
    _double,
    _insert_junk,
    _insert_segment,
    _change_scan,
)


def changed(data: bytes, rng: random.Random) -> bytes:
    """A JPEG with one to three changes, and sometimes with another end."""
    parts = parts_of(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(CHANGES)(parts, rng)
    result = b"".join(part.encoded() for part in parts)
    end = rng.random()
    if end < 0.05:
        result = result[: rng.randrange(len(result))]
    elif end < 0.1:
        result = result[: -rng.randrange(1, 40)]
    elif end < 0.15:
        result += rng.choice((b"\0" * 50, b"appended", result))
    return result


def _difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    if ours.shape != theirs.shape:
        return "other size"
    largest = int(np.abs(ours.astype(int) - theirs).max())
    return "equal" if not largest else "other pixels" if largest > SMOOTHING else "smoothed otherwise"


def compare(data: bytes) -> str:
    """What the two decoders make of the same bytes: one of the outcomes in docs/formats.md, or a fault."""
    size = ImageSize(16, 16)
    try:
        ours = decode_jpeg(data, size, POLICY)[:, :, :3] if data.startswith(JPEG_MAGIC) else None
    except ExampleTooLargeError:
        return "too large"
    except DecodeError:
        ours = None
    try:
        theirs = tf.io.decode_jpeg(data, channels=3).numpy()
    except tf.errors.InvalidArgumentError:
        theirs = None
    if ours is None and theirs is None:
        return "refused by both"
    if theirs is None:
        return "only ours"
    if ours is None:
        return "only TensorFlow" if _has_end(data) else "no end, only TensorFlow"
    difference = _difference(ours, theirs)
    frame = read_frame(data)
    return difference if frame is not None and frame.progressive else difference.replace("smoothed", "decoded")


def _has_end(data: bytes) -> bool:
    """Whether a decoder comes to the marker that ends the image, past what else is behind the scans.

    A table may take in that marker: libjpeg reads as many bytes as the table has, whatever its length says.
    """
    place = next(segment.start for segment in segments(data) if segment.marker == SOS)
    while marker := MARKER.search(data, place):
        if marker[0][1] in (EOI, *TABLES):
            return marker[0][1] == EOI
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        place = marker.end() + max(length, 2)
    return False


def jpeg_of_seed(seed: int, sources: list[bytes]) -> bytes:
    rng = random.Random(seed)
    return changed(rng.choice(sources), rng)


def main() -> None:
    """Compares, and prints the outcomes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--write", help="Write the file of the first seed here, and do nothing else.")
    arguments = parser.parse_args()
    sources = list(originals())
    if arguments.write:
        with io.FileIO(arguments.write, "w") as file:
            file.write(jpeg_of_seed(arguments.first, sources))
        return
    seeds: dict[str, list[int]] = {}
    for seed in range(arguments.first, arguments.first + arguments.count):
        seeds.setdefault(compare(jpeg_of_seed(seed, sources)), []).append(seed)
    counts = {outcome: len(found) for outcome, found in sorted(seeds.items())}
    odd = {outcome: found[:SEEDS_PRINTED] for outcome, found in seeds.items() if outcome not in EXPECTED}
    print(json.dumps({"outcomes": counts, "seeds": odd}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
