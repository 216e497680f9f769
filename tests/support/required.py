"""Software that some tests need. If it is missing, they are skipped, or they fail if all tests must run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

# Set in CI.
REQUIRED = os.environ.get("BEAM_JOB_REQUIRE_ALL") == "1"


def skip_or_fail(missing: str) -> NoReturn:
    if REQUIRED:
        pytest.fail(missing)
    pytest.skip(missing)
