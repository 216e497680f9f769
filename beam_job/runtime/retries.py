"""What goes wrong beyond this machine: errors in Python's own terms, and trying again what may pass.

Cloud clients, Beam and HTTP libraries have trees of exceptions of their own. Here they become FileNotFoundError,
PermissionError, TransientError for what may be otherwise in a moment, and OSError for the rest.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec, TypeVar

import tenacity

from beam_job.core.metrics import RETRIES

# The answers of Google Cloud Storage that are worth another try
# (https://cloud.google.com/storage/docs/retry-strategy#tools); other stores use them alike.
_TRANSIENT_CODES = frozenset((408, 429, 500, 502, 503, 504))
_TRANSIENT_TYPES = (ConnectionError, TimeoutError, EOFError, http.client.HTTPException)
# Libraries whose every error is one of the connection, and the error of an upload whose checksum is wrong.
_CONNECTION_LIBRARIES = frozenset(("requests", "urllib3"))
_DAMAGED_UPLOAD = "DataCorruption"

_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0

P = ParamSpec("P")
R = TypeVar("R")


class TransientError(OSError):
    """A service did not answer, or said that it cannot just now."""


def persistently(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates what may be done again: while it fails for a passing reason, up to 8 times in a minute or so.

    Pauses are random and grow, so that a thousand workers do not come back in the same moment (exponential back-off
    with full jitter). Every new try is counted in ``metrics.RETRIES``.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        before_sleep=lambda _: RETRIES.add(1),
        reraise=True,
    )

    @functools.wraps(function)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> R:
        # Tenacity's bookkeeping takes half as long as a fetch: it begins with a failure, which it is shown again.
        try:
            return function(*args, **kwargs)
        except TransientError as error:
            failures = [error]

        def attempt() -> R:
            if failures:
                raise failures.pop()
            return function(*args, **kwargs)

        return retrying(attempt)

    return persistent


@contextlib.contextmanager
def python_errors(path: str) -> Iterator[None]:
    """Turns what Beam and the cloud clients raise over ``path`` into Python's own errors.

    Raises:
      FileNotFoundError, PermissionError, TransientError, OSError: the block failed.
    """
    try:
        yield
    except Exception as error:  # cloud clients have trees of exceptions of their own
        cause = _cause(error)
        if isinstance(cause, OSError) and cause.errno and not _is_of_the_connection(cause):
            raise cause from None  # the operating system's own, with its number
        _raise_as_python(path, cause)


def _cause(error: Exception) -> BaseException:
    """What lies beneath a BeamIOError, which keeps the real errors in a mapping."""
    details = getattr(error, "exception_details", None)
    inner = [value for value in details.values() if isinstance(value, BaseException)] if details else []
    return inner[0] if inner else error


def _raise_as_python(path: str, error: BaseException) -> NoReturn:
    code = getattr(error, "code", None) or getattr(error, "status_code", None)
    message = f"{path}: {' '.join(str(error).split())}"
    if isinstance(error, FileNotFoundError) or code == 404:
        raise FileNotFoundError(message) from error
    if isinstance(error, PermissionError) or code in (401, 403):
        raise PermissionError(message) from error
    if code in _TRANSIENT_CODES or _is_of_the_connection(error):
        raise TransientError(message) from error
    raise OSError(message) from error


def _is_of_the_connection(error: BaseException) -> bool:
    library = type(error).__module__.partition(".")[0]
    named = library in _CONNECTION_LIBRARIES or type(error).__name__ == _DAMAGED_UPLOAD
    # google.auth marks what is worth another try.
    return named or isinstance(error, _TRANSIENT_TYPES) or getattr(error, "retryable", False) is True
