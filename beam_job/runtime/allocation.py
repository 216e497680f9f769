"""How the process asks for memory.

A picture passes through arrays of a few hundred kilobytes that live for a millisecond. The C library of Linux gives
blocks of that size back to the system as soon as they are freed, and the system clears them anew for the next picture:
as long as decoding itself takes. Keeping them halves the cost of a picture.

What is kept must be kept once. The library would also give every thread a store of its own, an arena, up to eight for
each core, and the contents of files, which many threads read, would lie about in all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

# Parameters of mallopt(3), and the largest value that glibc takes for the second.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_KEPT_BLOCK = 32 << 20
_KEPT_AT_THE_TOP = 64 << 20
_LARGEST_SCRATCH = 64 << 20


def keep_freed_memory(threads: int) -> bool:
    """Has this process keep the memory that it frees from now on, up to some 64 megabytes, for what it needs next.

    What it has freed so far, as a model that was loaded and compiled leaves it behind, is given back.

    Args:
      threads: How many ask for memory at the same time; more may, and wait for each other.

    Returns:
      Whether the C library can be told so; only glibc can, and others do as they do.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt, malloc_trim = library.mallopt, library.malloc_trim
    except (OSError, AttributeError, TypeError):
        return False
    malloc_trim(0)
    wanted = {_M_MMAP_THRESHOLD: _LARGEST_KEPT_BLOCK, _M_TRIM_THRESHOLD: _KEPT_AT_THE_TOP, _M_ARENA_MAX: threads}
    return all(mallopt(parameter, value) for parameter, value in wanted.items())


class Scratch(threading.local):
    """A block of bytes that each thread has for itself and fills again and again."""

    def __init__(self) -> None:
        self._block: npt.NDArray[Any] = np.empty(0, np.uint8)

    def block(self, size: int) -> npt.NDArray[np.uint8]:
        """uint8 [>= size], of any content; what the thread was given before is overwritten with it.

        Args:
          size: Bytes; beyond 64 megabytes the block is not kept.
        """
        if size > _LARGEST_SCRATCH:
            return np.empty(size, np.uint8)
        if size > len(self._block):
            self._block = _large_pages(size)
        return self._block


def _large_pages(size: int) -> npt.NDArray[np.uint8]:
    """uint8 [size] in large pages where the system has them: a picture of 12 megapixels is 12,000 small ones."""
    block = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
        with contextlib.suppress(OSError):  # built without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(block, np.uint8)
