import os
import signal
import sys
from typing import Any

import pytest

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.runtime.isolation import run_isolated


def echo(**arguments: Any) -> dict[str, Any]:
    print("words on standard output disturb nothing")
    os.write(1, b"nor do those of native code")
    return {**arguments, "process": os.getpid(), "tensorflow": "tensorflow" in sys.modules}


def refuse(kind: str) -> None:
    raise {"flag": FlagNeededError, "model": ModelError}[kind](f"no {kind}")


def stumble() -> None:
    raise ZeroDivisionError("a bug")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_arguments_and_results_pass() -> None:
    answer = run_isolated(f"{__name__}:echo", text="\u20ac\n", number=1.5, nothing=None, many=[1, [2]])
    assert answer.pop("process") != os.getpid()
    assert answer == {"text": "\u20ac\n", "number": 1.5, "nothing": None, "many": [1, [2]], "tensorflow": False}


@pytest.mark.parametrize(("kind", "error"), [("flag", FlagNeededError), ("model", ModelError)])
def test_errors_of_ours_keep_their_class_and_words(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^no {kind}$") as caught:
        run_isolated(f"{__name__}:refuse", kind=kind)
    assert type(caught.value) is error


def test_a_bug_comes_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)exit code 1 .*ZeroDivisionError: a bug"):
        run_isolated(f"{__name__}:stumble")


def test_a_process_that_is_killed_is_named() -> None:
    with pytest.raises(RuntimeError, match="ended with signal 9"):
        run_isolated(f"{__name__}:die")
