"""Retries, and the errors of remote services as Python's own.

Cloud clients, Beam and HTTP libraries have their own exception trees. Here they become FileNotFoundError,
PermissionError, TransientError for what a retry may solve, and OSError for the rest.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import http.client
import logging
import re
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec, TypeVar

import tenacity

from beam_job.core.metrics import RETRIES

# The HTTP status codes that Google Cloud Storage wants retried
# (https://cloud.google.com/storage/docs/retry-strategy#tools); other stores use them alike.
_TRANSIENT_STATUS = frozenset((408, 429, 500, 502, 503, 504))
_TRANSIENT_TYPES = (ConnectionError, TimeoutError, EOFError, http.client.HTTPException)
# Libraries whose errors are all connection errors, and the error of an upload with a wrong checksum.
_CONNECTION_LIBRARIES = frozenset(("requests", "urllib3"))
_DAMAGED_UPLOAD = "DataCorruption"
# What does not change by itself: a certificate that is not trusted, and a URL that is none.
_HOPELESS = re.compile(
    "certificate verify failed|invalid url|failed to parse|invalid host|label too long", re.IGNORECASE
)
_UNREACHABLE = re.compile("Failed to resolve|Failed to establish a new connection")
# How urllib3 ends the text of an error after its last attempt, with the reason in the group.
_CONNECTION_FAILURE = re.compile(r"\(Caused by \w+\(.*?: (.*)[\"']\)\)$")

_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_ATTEMPTS_OF_THE_IMPATIENT = 3

_is_impatient: contextvars.ContextVar[bool] = contextvars.ContextVar("is_impatient", default=False)

P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger(__name__)


class TransientError(OSError):
    """A service did not answer, or answered that it cannot serve the request now."""


class UnreachableError(TransientError):
    """There is no way to the service: its name is unknown, or nothing listens at its address."""


def with_retries(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that may be called again: on a TransientError, up to 8 attempts within about a minute.

    The pauses are random and grow, so that a thousand workers do not retry at the same moment (exponential backoff
    with full jitter). Every retry is counted in ``metrics.RETRIES``.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
        stop=lambda state: state.attempt_number >= _most_attempts(state),
        before_sleep=_count_retry,
        reraise=True,
    )

    @functools.wraps(function)
    def retried(*args: P.args, **kwargs: P.kwargs) -> R:
        # Tenacity's bookkeeping takes half as long as a fetch, so it starts after a failure, which it is shown again.
        try:
            return function(*args, **kwargs)
        except TransientError as error:
            failures = [error]

        def attempt() -> R:
            if failures:
                raise failures.pop()
            return function(*args, **kwargs)

        return retrying(attempt)

    return retried


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Fewer attempts to reach a service in this block: somebody waits, and the address or the network may be wrong."""
    token = _is_impatient.set(True)
    try:
        yield
    finally:
        _is_impatient.reset(token)


def _most_attempts(state: tenacity.RetryCallState) -> int:
    error = state.outcome.exception() if state.outcome else None
    few = _is_impatient.get() and isinstance(error, UnreachableError)
    return _ATTEMPTS_OF_THE_IMPATIENT if few else _ATTEMPTS


def _count_retry(state: tenacity.RetryCallState) -> None:
    RETRIES.add(1)
    error = state.outcome.exception() if state.outcome else None
    logger.info("retry %d of %d after %s", state.attempt_number, _most_attempts(state) - 1, error)


@contextlib.contextmanager
def python_errors(path: str) -> Iterator[None]:
    """Turns what Beam and the cloud clients raise about ``path`` into Python's own errors.

    Raises:
      FileNotFoundError, PermissionError, TransientError, OSError: the block failed.
    """
    try:
        yield
    except Exception as error:  # cloud clients have their own exception trees
        cause = _cause(error)
        if isinstance(cause, OSError) and cause.errno and not _is_connection_error(cause):
            raise cause from None  # the operating system's own, with its number
        _raise_as_python(path, cause)


def _cause(error: Exception) -> BaseException:
    """The error inside a BeamIOError, which keeps the real errors in a mapping."""
    details = getattr(error, "exception_details", None)
    inner = [value for value in details.values() if isinstance(value, BaseException)] if details else []
    return inner[0] if inner else error


def _raise_as_python(path: str, error: BaseException) -> NoReturn:
    status = getattr(error, "code", None) or getattr(error, "status_code", None)
    words = " ".join(str(error).split())
    cause = _CONNECTION_FAILURE.search(words)
    message = f"{path}: {cause[1] if cause else words}"
    if isinstance(error, FileNotFoundError) or status == 404:
        raise FileNotFoundError(message) from error
    if isinstance(error, PermissionError) or status in (401, 403):
        raise PermissionError(message) from error
    if _HOPELESS.search(words):
        raise OSError(message) from error
    if _is_connection_error(error) and _UNREACHABLE.search(words):
        raise UnreachableError(message) from error
    if status in _TRANSIENT_STATUS or _is_connection_error(error):
        raise TransientError(message) from error
    raise OSError(message) from error


def _is_connection_error(error: BaseException) -> bool:
    library = type(error).__module__.partition(".")[0]
    named = library in _CONNECTION_LIBRARIES or type(error).__name__ == _DAMAGED_UPLOAD
    # google.auth marks the errors that are worth a retry.
    return named or isinstance(error, _TRANSIENT_TYPES) or getattr(error, "retryable", False) is True
