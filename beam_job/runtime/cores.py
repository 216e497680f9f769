"""The CPU cores that this process may use."""

from __future__ import annotations

import contextlib
import os

_CGROUP_QUOTA = "/sys/fs/cgroup/cpu.max"


def available_cores(quota_file: str = _CGROUP_QUOTA) -> int:
    """The number of CPU cores that this process may use: its affinity, or less where a container has a lower quota.

    Args:
      quota_file: Where Linux tells the container's quota, as ``quota period`` or ``max period`` (cgroup v2, cpu.max).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError), open(quota_file, encoding="ascii") as file:
        quota, period = map(int, file.read().split())
        cores = min(cores, max(1, round(quota / period)))
    return cores
