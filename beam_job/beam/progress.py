"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from beam_job.core import naming
from beam_job.core.metrics import EXAMPLES_DONE
from beam_job.runtime import storage

_POLL_SECONDS = 0.2
_REMOTE_POLL_SECONDS = 5.0
_LINE_SECONDS = 10.0


class Display(Protocol):
    """Shows how far a run is."""

    def update(self, done: int, total: int | None) -> None: ...


class Watch:
    """The number of examples that are done and their total, seen from the launching process.

    In the process that does the work, examples are counted one by one. From outside, the receipts in the target show
    the progress, shard by shard.
    """

    def __init__(self, output: str, in_process: bool) -> None:
        self._output, self._in_process = output, in_process
        self._before = EXAMPLES_DONE.count
        self._layout: dict[str, dict[str, int]] = {}

    def look(self) -> tuple[int, int | None]:
        """Examples done, and the total as soon as it is known."""
        if not self._layout.get("examples"):
            with contextlib.suppress(OSError, ValueError):
                self._layout = json.loads(storage.read_bytes(storage.join(self._output, naming.LAYOUT)))
        examples = self._layout.get("examples")
        total = sum(examples.values()) if examples else None
        if self._in_process:
            return EXAMPLES_DONE.count - self._before, total
        if not total:
            return 0, total
        receipts = sum(1 for _ in storage.list_files(storage.join(self._output, naming.RECEIPTS), recursive=False))
        return round(total * receipts / sum(self._layout["shards"].values())), total


class Lines:
    """A line every ten seconds, for logs."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def update(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_SECONDS or not done:
            return
        self._last = now
        rate = done / (now - self._start)
        left = f", {(total - done) / rate:.0f} s left" if total else ""
        of_all = f" of {total:,}" if total else ""
        print(f"{done:,}{of_all} examples, {rate:.1f} examples/s{left}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bar() -> Iterator[Display]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("extracting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")
        start = time.monotonic()

        class _Bar:
            def update(self, done: int, total: int | None) -> None:
                rate = done / (time.monotonic() - start)
                bar.update(task, completed=done, total=total, rate=f"{rate:.0f} examples/s" if done else "")

        yield _Bar()


@contextlib.contextmanager
def show_step(words: str) -> Iterator[None]:
    """Shows on a terminal what the block is about, for as long as it lasts."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield


@contextlib.contextmanager
def show_progress(output: str, in_process: bool) -> Iterator[None]:
    """Shows the progress of the run that the block waits for.

    Args:
      output: The dataset's directory.
      in_process: Whether the work is done in this process.
    """
    watch, stop = Watch(output, in_process), threading.Event()
    display: contextlib.AbstractContextManager[Display]
    display = _bar() if sys.stderr.isatty() else contextlib.nullcontext(Lines())
    seconds = _POLL_SECONDS if in_process or storage.is_local(output) else _REMOTE_POLL_SECONDS

    def follow(shown: Display) -> None:
        while not stop.wait(seconds):
            with contextlib.suppress(OSError):  # the next look succeeds
                shown.update(*watch.look())

    with display as shown:
        thread = threading.Thread(target=follow, args=(shown,), name="beam-job-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
