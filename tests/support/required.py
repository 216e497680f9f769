"""Software that some tests need. If it is missing, they are skipped, or they fail if all tests must run."""

from __future__ import annotations

import importlib
import os
from typing import NoReturn

import pytest

# Set in CI.
REQUIRED = os.environ.get("BEAM_JOB_REQUIRE_ALL") == "1"


def skip_or_fail(missing: str) -> NoReturn:
    if REQUIRED:
        pytest.fail(missing)
    pytest.skip(missing)


def require_package(name: str) -> None:
    """Imports a package that the test needs."""
    try:
        importlib.import_module(name)
    except ImportError:
        skip_or_fail(f"the package {name} is not installed")
