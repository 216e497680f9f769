"""One idea: map a function over a stream in threads, results in order, with a bounded number in flight."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def map_in_order(function: Callable[[A], B], items: Iterable[A], executor: Executor, in_flight: int) -> Iterator[B]:
    """Yields ``function(item)`` for each item, in the items' order.

    Args:
      function: Called in the executor's threads; what it raises is raised here, at its turn.
      items: Drawn from lazily, in this thread: never more than ``in_flight`` ahead of what was yielded.
      executor: Where the calls run; shared with other maps as you like.
      in_flight: How many calls may be under way or waiting to be yielded, at least 1.

    Yields:
      The results, in order. When the consumer stops early, calls that have not begun are cancelled.
    """
    if in_flight < 1:
        raise ValueError(f"in_flight is at least 1, found {in_flight}")
    iterator = iter(items)
    pending: deque[Future[B]] = deque(executor.submit(function, item) for item in islice(iterator, in_flight))
    try:
        while pending:
            result = pending.popleft().result()
            for item in islice(iterator, 1):
                pending.append(executor.submit(function, item))
            yield result
    finally:
        for future in pending:
            future.cancel()


# A task that takes this long is worth the waking of a thread, which costs some tens of microseconds on either side.
_WORTHWHILE_SECONDS = 0.004
# Quick items are handed over by the group, this many groups at once at least.
_LEAST_GROUPS = 4
# In flight however heavy they are, and as long as nobody knows how heavy.
_LEAST_IN_FLIGHT = 4


def map_in_groups(
    function: Callable[[A], B],
    items: Iterable[A],
    executor: Executor,
    in_flight: int,
    weigh: Callable[[B], float] = lambda _: 0.0,
) -> Iterator[B]:
    """:func:`map_in_order` for calls that may be slow or quick, and results that may be light or heavy.

    A file on a disk is read in less time than it takes to wake a thread for it, and every thread that wakes takes a
    core from one that works; an object in a store takes a thousand times as long, and many must be waited for at once.
    So quick calls share a task, and slow ones have one each: how many items share follows from how long the last ones
    took. How many are in flight follows from what the results so far weigh in the mean.

    Args:
      function: Called in the executor's threads; what it raises is raised here, at the turn of the first in its group.
      items: As in :func:`map_in_order`.
      executor: As in :func:`map_in_order`.
      in_flight: How many items may be under way or waiting to be yielded, at least 1, however little they weigh.
      weigh: What a result weighs, 1 being what all that is in flight should weigh at most; a few always may be,
        whatever they weigh.

    Yields:
      The results, in order. When the consumer stops early, calls that have not begun are cancelled.
    """
    if in_flight < 1:
        raise ValueError(f"in_flight is at least 1, found {in_flight}")

    def call(group: list[A]) -> tuple[list[B], float]:
        start = time.perf_counter()
        results = [function(item) for item in group]
        return results, time.perf_counter() - start

    iterator = iter(items)
    pending: deque[tuple[Future[tuple[list[B], float]], int]] = deque()
    least = min(in_flight, _LEAST_IN_FLIGHT)
    most, size, waiting, done, weight = least, 1, 0, 0, 0.0
    try:
        while True:
            while waiting + size <= most and (group := list(islice(iterator, size))):
                pending.append((executor.submit(call, group), len(group)))
                waiting += len(group)
            if not pending:
                return
            future, count = pending.popleft()
            results, seconds = future.result()
            done, weight = done + count, weight + sum(map(weigh, results))
            yield from results
            waiting -= count
            most = max(least, min(in_flight, int(done / max(weight, 1e-9))))
            size = max(1, min(most // _LEAST_GROUPS, int(_WORTHWHILE_SECONDS * count / max(seconds, 1e-9))))
    finally:
        for future, _ in pending:
            future.cancel()


def batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Cuts a stream into lists of ``size`` items, the last one shorter when it does not come out even.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    if size < 1:
        raise ValueError(f"a batch has at least 1 item, found {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
