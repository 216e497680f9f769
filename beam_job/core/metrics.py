"""Counters and stage timers of a run. Plain Python; the Beam layer hands them to Beam's metrics."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

NAMESPACE = "beam_job"
STAGES = ("read", "decode", "model", "write")


class StageTimes:
    """Seconds per stage, summed over threads. Thread-safe."""

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
    """A counter for the whole process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, number: int) -> None:
        with self._lock:
            self._count += number

    def take(self) -> int:
        """What was added since the last call; the counter starts again at 0."""
        with self._lock:
            count, self._count = self._count, 0
        return count

    @property
    def count(self) -> int:
        with self._lock:
            return self._count


# Examples with an outcome, for the progress display of the same process.
EXAMPLES_DONE = ProcessCounter()
# Repeated requests to services that failed for a transient reason; a shard's receipt takes what has accumulated.
RETRIES = ProcessCounter()


def add_times(parts: Iterator[Mapping[str, float]]) -> dict[str, float]:
    """The sum of several mappings of seconds, key by key."""
    total: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return total
