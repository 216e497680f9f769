import os
import signal
import sys
from typing import Any

import pytest

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.runtime.isolation import ProcessDiedError, run_isolated


def echo(**arguments: Any) -> dict[str, Any]:
    print("output on stdout is ignored")
    os.write(1, b"so is the output of native code")
    return {**arguments, "process": os.getpid(), "tensorflow": "tensorflow" in sys.modules}


def refuse(kind: str) -> None:
    raise {"flag": FlagNeededError, "model": ModelError}[kind](f"no {kind}")


def crash() -> None:
    raise ZeroDivisionError("a bug")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_arguments_and_results_are_passed() -> None:
    result = run_isolated(f"{__name__}:echo", text="\u20ac\n", number=1.5, nothing=None, many=[1, [2]])
    assert result.pop("process") != os.getpid()
    assert result == {"text": "\u20ac\n", "number": 1.5, "nothing": None, "many": [1, [2]], "tensorflow": False}


@pytest.mark.parametrize(("kind", "error"), [("flag", FlagNeededError), ("model", ModelError)])
def test_our_errors_keep_their_class_and_message(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^no {kind}$") as caught:
        run_isolated(f"{__name__}:refuse", kind=kind)
    assert type(caught.value) is error


def test_a_bug_is_reported_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)exit code 1 .*ZeroDivisionError: a bug"):
        run_isolated(f"{__name__}:crash")


def test_a_killed_process_is_reported_with_its_signal() -> None:
    with pytest.raises(ProcessDiedError, match="ended by SIGKILL") as caught:
        run_isolated(f"{__name__}:kill_itself")
    assert caught.value.signal == "SIGKILL"
