"""What a run counts and where its time goes: plain Python, handed to Beam's metrics by the layer that knows Beam."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

NAMESPACE = "beam_job"
STAGES = ("read", "decode", "model", "write")


class StageTimes:
    """Seconds per stage, added up over threads. Safe to share between them."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] += seconds

    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        with self._lock:
            return dict(self._seconds)


class ProcessCounter:
    """A count of this process's. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, number: int) -> None:
        with self._lock:
            self._count += number

    def take(self) -> int:
        """What was added since the last time that somebody took it."""
        with self._lock:
            count, self._count = self._count, 0
        return count

    @property
    def count(self) -> int:
        with self._lock:
            return self._count


# Images brought to an end, for whoever shows progress in the same process.
IMAGES_DONE = ProcessCounter()
# Requests made again because a service could not answer; a shard's receipt takes what has come together.
RETRIES = ProcessCounter()


def add_times(parts: Iterator[Mapping[str, float]]) -> dict[str, float]:
    """The sum of several mappings of seconds, key by key."""
    total: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return total
