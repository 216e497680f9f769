import ctypes
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from beam_job.runtime.allocation import Scratch

# Prints the page faults of a process that allocates and frees a megabyte a hundred times, with or without our setting.
_FAULTS = """
import resource, sys
import numpy as np
from beam_job.runtime.allocation import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory(2)
np.ones(1 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    array = np.ones(1 << 20, np.uint8)
    del array
    np.ones(1 << 17, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", _FAULTS, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs mallopt, which is part of glibc")
def test_freed_memory_is_kept_for_the_next_image() -> None:
    assert page_faults("keep") <= page_faults("default")
    assert page_faults("keep") < 1000  # a megabyte has 256 pages


def test_a_thread_gets_the_same_block_again() -> None:
    scratch = Scratch()
    first = scratch.block(1000)
    assert len(first) >= 1000
    assert scratch.block(500) is first
    assert len(scratch.block(2000)) >= 2000


def test_threads_do_not_share_a_block() -> None:
    scratch = Scratch()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(scratch.block, 1000).result()
    assert not np.shares_memory(other, scratch.block(1000))


def test_a_very_large_block_is_not_kept() -> None:
    scratch = Scratch()
    large = scratch.block((64 << 20) + 1)
    assert len(large) > 64 << 20
    assert scratch.block((64 << 20) + 1) is not large
