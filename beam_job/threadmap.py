"""One idea: map a function over a stream in threads, results in order, with a bounded number in flight."""

from __future__ import annotations

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
