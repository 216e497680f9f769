"""Which examples go into the model together, and how their outcomes come back into order.

A model of texts fills a batch up to its longest text. So texts of about the same length go together, and a text that a
shard has several times is computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeVar

from beam_job.core.records import Content, ErrorRow, ExampleRef

T = TypeVar("T")
# Bytes of contents that are held to be ordered by length. Shards of texts rarely hold more.
_WINDOW_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A content, which is computed once.

    Attributes:
      content: The bytes, or the error row for an example that has none.
      examples: The examples that have this content: the place of each in the shard, and its ref.
    """

    content: bytes | ErrorRow
    examples: list[tuple[int, ExampleRef]]


def in_their_order(contents: Iterable[Content]) -> Iterator[Task]:
    """A task for each example, in order."""
    for place, (ref, content) in enumerate(contents):
        yield Task(content, [(place, ref)])


def by_length(contents: Iterable[Content], window_bytes: int = _WINDOW_BYTES) -> Iterator[Task]:
    """A task for each different content, the longest first: at the end, no thread waits for long for another.

    Args:
      contents: Consumed as far ahead as ``window_bytes`` of them go.
      window_bytes: How many bytes of contents are ordered at a time.
    """
    window: dict[bytes | ErrorRow, Task] = {}
    held = 0
    for task in in_their_order(contents):
        known = window.setdefault(task.content, task)
        if known is not task:
            known.examples.extend(task.examples)
        held += _length(task)
        if held > window_bytes:
            yield from sorted(window.values(), key=_length, reverse=True)
            window, held = {}, 0
    yield from sorted(window.values(), key=_length, reverse=True)


def _length(task: Task) -> int:
    return 0 if isinstance(task.content, ErrorRow) else len(task.content)


def restored(placed: Iterable[tuple[int, T]]) -> Iterator[T]:
    """What belongs to each place, from 0 on; holds what comes before its turn."""
    waiting: dict[int, T] = {}
    turn = 0
    for place, value in placed:
        waiting[place] = value
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1
