"""Maps a function over a stream in threads: results in order, a bounded number of calls in flight."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def map_in_order(function: Callable[[A], B], items: Iterable[A], executor: Executor, in_flight: int) -> Iterator[B]:
    """Yields ``function(item)`` for each item, in the items' order.

    Args:
      function: Called in the executor's threads; what it raises is raised here, at its turn.
      items: Drawn from lazily, in this thread: never more than ``in_flight`` ahead of what was yielded.
      executor: Where the calls run; may be shared with other maps.
      in_flight: How many calls may be running or waiting to be yielded, at least 1.

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


# A task of this length is worth waking a thread, which costs some tens of microseconds on both sides.
_WORTHWHILE_SECONDS = 0.004
# Fast items are submitted in groups, of which at least this many are in flight.
_MIN_GROUPS = 4
# In flight however heavy the results are, and until their weight is known.
_MIN_IN_FLIGHT = 4
# Items that are drawn ahead at a time, however light they are.
_MOST_AHEAD = 256


def map_in_groups(
    function: Callable[[A], B],
    items: Iterable[A],
    executor: Executor,
    in_flight: int,
    weigh: Callable[[B], float] = lambda _: 0.0,
) -> Iterator[B]:
    """:func:`map_in_order` for calls that may be slow or fast, and results that may be light or heavy.

    A file on disk is read in less time than it takes to wake a thread, and every thread that wakes up takes a core from
    one that works; an object in a store takes a thousand times as long, and many must be in flight. So fast calls share
    a task, and slow calls have one each: the number of items per task follows from how long the last ones took. The
    number of items in flight follows from the mean weight of the results so far.

    Args:
      function: Called in the executor's threads; what it raises is raised here, at the turn of the first in its group.
      items: As in :func:`map_in_order`.
      executor: As in :func:`map_in_order`.
      in_flight: How many items may be running or waiting to be yielded, at least 1, however light they are.
      weigh: The weight of a result, where 1 is the maximum for all results in flight together; a few are always in
        flight, whatever they weigh.

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
    minimum = min(in_flight, _MIN_IN_FLIGHT)
    limit, size, waiting, done, weight = minimum, 1, 0, 0, 0.0
    try:
        while True:
            while waiting + size <= limit and (group := list(islice(iterator, size))):
                pending.append((executor.submit(call, group), len(group)))
                waiting += len(group)
            if not pending:
                return
            future, count = pending.popleft()
            results, seconds = future.result()
            done, weight = done + count, weight + sum(map(weigh, results))
            yield from results
            waiting -= count
            limit = max(minimum, min(in_flight, int(done / max(weight, 1e-9))))
            size = max(1, min(limit // _MIN_GROUPS, int(_WORTHWHILE_SECONDS * count / max(seconds, 1e-9))))
    finally:
        for future, _ in pending:
            future.cancel()


def read_ahead(
    items: Iterable[A], executor: Executor, weigh: Callable[[A], float], most: int = _MOST_AHEAD
) -> Iterator[A]:
    """Draws items in a thread, one group of them while the group before it is consumed.

    Args:
      items: Drawn from by one thread at a time, at most two groups ahead.
      executor: Where they are drawn.
      weigh: The weight of an item, where 1 is the maximum for a group, beside its last item.
      most: The largest group.
    """
    iterator = iter(items)

    def draw(count: int) -> list[A]:
        group: list[A] = []
        weight = 0.0
        while len(group) < count and weight < 1:
            for item in islice(iterator, 1):
                group.append(item)
                weight += weigh(item)
                break
            else:
                break
        return group

    size = 1  # so that the first items are there at once
    pending = executor.submit(draw, size)
    try:
        while group := pending.result():
            size = min(most, size * 2)
            pending = executor.submit(draw, size)
            yield from group
    finally:
        if not pending.cancel():
            wait([pending])


def batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Cuts a stream into lists of ``size`` items; the last one may be shorter.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    if size < 1:
        raise ValueError(f"a batch has at least 1 item, found {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
