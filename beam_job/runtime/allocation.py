"""How the process allocates memory.

An image passes through arrays of a few hundred kilobytes that live for a millisecond. The C library of Linux returns
blocks of that size to the system as soon as they are freed, and the system clears them again for the next image, which
takes as long as decoding. Keeping the blocks halves the cost of an image.

Freed blocks must be kept once, not once per thread: by default glibc has up to eight arenas per core, and the contents
of files, which many threads read, would fill all of them.
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
    """Makes this process keep the memory that it frees from now on, up to about 64 MB, for later allocations.

    Memory that was freed before, for instance while a model was loaded and compiled, is returned to the system.

    Args:
      threads: Number of malloc arenas: how many threads can allocate without waiting for each other.

    Returns:
      Whether the C library supports it; only glibc does.
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
    """A block of bytes per thread that is used again and again."""

    def __init__(self) -> None:
        self._block: npt.NDArray[Any] = np.empty(0, np.uint8)

    def block(self, size: int) -> npt.NDArray[np.uint8]:
        """uint8 [>= size] with arbitrary content; the same memory that the thread got before.

        Args:
          size: Number of bytes; a block above 64 MB is not kept.
        """
        if size > _LARGEST_SCRATCH:
            return np.empty(size, np.uint8)
        if size > len(self._block):
            self._block = _huge_pages(size)
        return self._block


def _huge_pages(size: int) -> npt.NDArray[np.uint8]:
    """uint8 [size] in huge pages where the system has them: 12 megapixels take 12,000 pages of the normal size."""
    block = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
        with contextlib.suppress(OSError):  # a kernel without huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(block, np.uint8)
