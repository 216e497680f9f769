"""Damages files byte by byte."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence


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


def _cut_out_much(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 3000)]


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.randrange(1, 1500))


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _flip_header,
    _truncate,
    _cut_out,
    _repeat,
    _overwrite,
)


# Files that hold others lose and gain whole parts, too.
DAMAGES_OF_CONTAINERS = (*DAMAGES, _cut_out_much, _insert)


def damaged(
    data: bytes, rng: random.Random, kinds: Sequence[Callable[[bytearray, random.Random], None]] = DAMAGES
) -> bytes:
    """The bytes, damaged one to three times."""
    copy = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if len(copy) > 1:
            rng.choice(kinds)(copy, rng)
    return bytes(copy)
