"""Translates what a runner raises: every runner wraps a worker's error in its own errors and texts."""

from __future__ import annotations

import re

from beam_job.core import errors
from beam_job.core.errors import BeamJobError, JobFailedError

# What the errors of this package and of the operating system look like in the text of what a runner raises.
_OWN_ERROR = re.compile(r"^(?:\w+: )?beam_job\.core\.errors\.(\w+): (.*?)(?: \[while running .*)?$", re.MULTILINE)
_SYSTEM_ERROR = re.compile(
    r"^((?:OS|Permission|FileNotFound|Connection\w*|Timeout|Memory)Error: .*?)(?: \[while running .*)?$", re.MULTILINE
)
# What Beam appends to the message of an error.
_WHERE = re.compile(r" \[while running .*?\]$", re.DOTALL)
# How a runner outside of this process says that it gave up, and what the errors in its reasons look like.
_GAVE_UP = re.compile(
    r"(?:Pipeline \S+ failed in state|Dataflow pipeline failed\. State:) (?P<state>\w+)"
    r"(?:: |, Error:\s*)(?P<reason>.*)",
    re.DOTALL,
)
_REASON = re.compile(r"^(?:Caused by: )?(?:[\w$]+\.)*\w*(?:Error|Exception): .*$", re.MULTILINE)
_INTERRUPT = re.compile(r"^(?:\w+: )?KeyboardInterrupt\b", re.MULTILINE)


def is_interrupt(error: BaseException) -> bool:
    """Whether a runner was interrupted by the user."""
    return bool(_INTERRUPT.search(str(error)))


def own_error(error: BaseException) -> BeamJobError | None:
    """The error of this package, or of the operating system, inside what a runner raised; None for a bug."""
    while error.__cause__ is not None and not isinstance(error, BeamJobError):
        error = error.__cause__
    if isinstance(error, BeamJobError):
        return type(error)(_WHERE.sub("", str(error)))
    text = str(error)
    if own := _OWN_ERROR.findall(text):
        name, message = own[-1]
        return getattr(errors, name, JobFailedError)(message)
    if system := _SYSTEM_ERROR.findall(text):
        return JobFailedError(f"The run failed: {system[-1]}")
    if gave_up := _GAVE_UP.match(text):
        reasons = _REASON.findall(gave_up["reason"]) or gave_up["reason"].splitlines()[:1]
        return JobFailedError(
            f"The runner ended the run as {gave_up['state']}: {reasons[-1].strip().rstrip('.')}. Its own logs say "
            f"more; --resume continues with what is committed."
        )
    return None
