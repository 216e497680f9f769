"""Imports TensorFlow, here and nowhere else, so that its settings are made before it starts."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR"}


def import_tensorflow() -> Any:
    """The tensorflow module, imported without its start-up messages unless the environment asks for them."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    verbose = "TF_CPP_MIN_LOG_LEVEL" in os.environ
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.nullcontext() if verbose else _silent_stderr():
        return importlib.import_module("tensorflow")


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr; no variable silences TensorFlow's first messages."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
