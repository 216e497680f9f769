from __future__ import annotations

import sys

import pytest

from beam_job.core.errors import UsageError
from beam_job.runtime.tensorflow import TEXT_OPERATIONS, died_of, import_operations


def test_operations_that_are_not_installed_are_named_with_the_line_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, TEXT_OPERATIONS, None)
    with pytest.raises(UsageError, match=r'operations of tensorflow-text, which .*pip install "beam_job\[text\]"'):
        import_operations(TEXT_OPERATIONS)


@pytest.mark.parametrize(
    ("signal", "words"),
    [("SIGKILL", "was killed"), ("SIGSEGV", "crashed on the model m"), ("SIGVTALRM", "The model m is damaged")],
)
def test_why_a_process_died(signal: str, words: str) -> None:
    assert words in died_of(signal, "m")
