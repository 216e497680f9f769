"""Runs a function in a separate process, so that what it imports neither stays nor interferes in this one.

The function is named ``package.module:function``; its arguments and its result are values that JSON can hold.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from beam_job.core import errors
from beam_job.core.errors import BeamJobError
from beam_job.runtime.tensorflow import TENSORFLOW_BACKEND

_LOG_SHOWN = 5000


class ProcessDiedError(RuntimeError):
    """The process ended by a signal.

    Attributes:
      signal: Its name, such as ``SIGSEGV``.
    """

    def __init__(self, function: str, number: int, log: str) -> None:
        self.signal = signal.Signals(number).name
        super().__init__(f"{function} ended by {self.signal} in its process:\n{log}")


def run_isolated(function: str, **arguments: Any) -> Any:
    """The result of ``function(**arguments)``, called in a new process.

    Raises:
      BeamJobError: the function raised it; the class is the same.
      ProcessDiedError: the process ended by a signal.
      RuntimeError: the function raised any other exception.
    """
    request = json.dumps({"function": function, "arguments": arguments})
    environment = {**os.environ, **TENSORFLOW_BACKEND, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # The arguments are constant; the request goes through standard input.
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, input=request, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    log = done.stderr[-_LOG_SHOWN:]
    if done.returncode < 0:
        raise ProcessDiedError(function, -done.returncode, log)
    if done.returncode:
        raise RuntimeError(f"{function} ended with exit code {done.returncode} in its process:\n{log}")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return answer["result"]


@contextlib.contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """The process ends by SIGVTALRM if it computes for longer than that in this block; waiting does not count.

    For libraries written in C that never return from some damaged files, which no exception can interrupt.
    """
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _serve() -> int:
    """Reads a request from standard input and answers on standard output, which nothing else writes to."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    module, _, name = request["function"].partition(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(**request["arguments"])}
    except BeamJobError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    json.dump(answer, answers)
    answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(_serve())
