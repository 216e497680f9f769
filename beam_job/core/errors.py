"""The exception tree, and the exit code of each branch.

    BeamJobError                1   the job, or a check, failed
    ├── UsageError              2   an option is wrong or missing
    ├── InputError              2   the input as a whole is wrong
    ├── ModelError              2   the model cannot be fetched, understood or run
    │   └── FlagNeededError         a flag must give what the model does not declare
    ├── OutputError             2   the target must not be written
    ├── JobFailedError          1   the run ended without a valid result
    └── ExampleError            -   one example gave no features: becomes an error row, never ends a run
        ├── BadReferenceError       the input's entry for the example makes no sense
        ├── ReadError               the bytes cannot be read
        │   ├── OutsideRootsError
        │   ├── DamagedContainerError   a part of a container, and the examples in it, is lost
        │   ├── NotFoundError
        │   └── AccessDeniedError
        ├── DecodeError             the bytes cannot be decoded
        │   ├── EmptyFileError
        │   ├── UnknownFormatError
        │   ├── CorruptExampleError
        │   └── ExampleTooLargeError
        ├── UnknownLabelError       the label is not in the given vocabulary
        └── ModelRejectedError      the model refused the example, or answered with NaN, infinity or no frame

A message is one or two sentences for the person at the terminal: what was expected, what was found, what to do.
"""

from __future__ import annotations

import re

# What TensorFlow and Keras write around the reason of an error: where it was raised, the node, colours.
_AROUND = re.compile(
    r"Graph execution error|Exception encountered when|Detected at node|File \"|Node: |\[\[|Traceback|Original stack"
)
_MARKS = re.compile(r"\{\{\w+ [^}]*\}\}|\[Op:\w+\].*|\[\[.*|\x1b\[[0-9;]*m")
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class BeamJobError(Exception):
    """Base of all errors that this package raises on purpose; the command line exits with ``exit_code``."""

    exit_code = EXIT_FAILED


class UsageError(BeamJobError):
    """An option is wrong, missing, or contradicts another."""

    exit_code = EXIT_USAGE


class InputError(BeamJobError):
    """The input as a whole is wrong: it is empty, a manifest lacks a column, ids repeat."""

    exit_code = EXIT_USAGE


class ModelError(BeamJobError):
    """The model cannot be fetched, understood or run."""

    exit_code = EXIT_USAGE


class FlagNeededError(ModelError):
    """The model does not declare something, and a flag must give it; the message names the flag."""


class OutputError(BeamJobError):
    """The target must not be written: it is not empty, holds other files, or is not writable."""

    exit_code = EXIT_USAGE


class JobFailedError(BeamJobError):
    """The run ended without a valid result: too many errors, or counts that do not add up."""


class ExampleError(BeamJobError):
    """One example gave no features. ``stage`` says where; the class name and the message go into the error row."""

    stage = "example"


class BadReferenceError(ExampleError):
    """The input's entry for the example makes no sense, such as a manifest row without a uri."""

    stage = "input"


class ReadError(ExampleError):
    """The bytes of the example cannot be read."""

    stage = "read"


class OutsideRootsError(ReadError):
    """The file is not below any of ``--allowed_roots``."""


class DamagedContainerError(ReadError):
    """A part of a file that holds many examples cannot be read, and the examples in it are lost."""


class NotFoundError(ReadError):
    """There is no file at the uri."""


class AccessDeniedError(ReadError):
    """The credentials do not allow to read the file at the uri."""


class DecodeError(ExampleError):
    """The bytes cannot be decoded."""

    stage = "decode"


class EmptyFileError(DecodeError):
    """The file has no bytes, the text no letters, or the sound only zeros."""


class UnknownFormatError(DecodeError):
    """The bytes are in no format that is supported."""


class CorruptExampleError(DecodeError):
    """The content is truncated or damaged."""


class ExampleTooLargeError(DecodeError):
    """The example is larger than the limit, as its header announces or as its bytes are."""


class UnknownLabelError(ExampleError):
    """The label is not in the vocabulary given with ``--labels``."""

    stage = "label"


class ModelRejectedError(ExampleError):
    """The model refused the example, or answered with NaN, infinity or no frame."""

    stage = "model"


def reason_of(error: BaseException) -> str:
    r"""The first line of a library's message that gives a reason, or the name of the error's class.

    >>> reason_of(ValueError("Graph execution error:\n\nNode: 'a'\n{{node a}} Incompatible shapes [[{{node a}}]]"))
    'Incompatible shapes'
    """
    lines = [line for text in str(error).splitlines() if (line := _MARKS.sub("", text).strip())]
    reasons = [line for line in lines if not _AROUND.match(line)] or lines
    return reasons[0] if reasons else type(error).__name__
