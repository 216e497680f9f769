"""The one tree of exceptions, and the exit code that each branch stands for.

    BeamJobError                1   the job, or a check, failed
    ├── UsageError              2   an option that is wrong or missing
    ├── InputError              2   an input that cannot be right
    ├── ModelError              2   a model that cannot be fetched, understood or run
    │   └── FlagNeededError         what the model does not say of itself must be given by a flag
    ├── OutputError             2   a target that may not be written
    ├── JobFailedError          1   the run ended, and its result does not hold
    └── ImageError              -   one image gave no features: becomes a row, never ends a run
        ├── BadReferenceError       the source could not make sense of the image's entry
        ├── ReadError               the bytes could not be had
        │   ├── OutsideRootsError
        │   ├── NotFoundError
        │   └── AccessDeniedError
        ├── DecodeError             the bytes are no picture that can be used
        │   ├── EmptyFileError
        │   ├── UnknownFormatError
        │   ├── CorruptImageError
        │   └── ImageTooLargeError
        ├── UnknownLabelError       the label is not in the vocabulary that was given
        └── ModelRejectedError      the model refused the pixels, or answered with NaN or infinity

Messages are one sentence (or two) for the person at the terminal: what was expected, what was found, what to do.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class BeamJobError(Exception):
    """Anything this package raises on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code = EXIT_FAILED


class UsageError(BeamJobError):
    """An option is wrong, missing, or contradicts another."""

    exit_code = EXIT_USAGE


class InputError(BeamJobError):
    """The input as a whole cannot be right: nothing there, a manifest without columns, ids that repeat."""

    exit_code = EXIT_USAGE


class ModelError(BeamJobError):
    """The model cannot be fetched, understood or run."""

    exit_code = EXIT_USAGE


class FlagNeededError(ModelError):
    """What the model does not say of itself must be given by a flag; the sentence names it."""


class OutputError(BeamJobError):
    """The target may not be written: it is not empty, not ours, or not writable."""

    exit_code = EXIT_USAGE


class JobFailedError(BeamJobError):
    """The run came to its end and its result does not hold: too many errors, or counts that do not add up."""


class ImageError(BeamJobError):
    """One image gave no features. ``stage`` says where; the class name and the message go into the error row."""

    stage = "image"


class BadReferenceError(ImageError):
    """The source could not make sense of the image's entry, such as a manifest line without a uri."""

    stage = "source"


class ReadError(ImageError):
    """The image's bytes could not be read."""

    stage = "read"


class OutsideRootsError(ReadError):
    """The file does not lie below any of ``--allowed_roots``."""


class NotFoundError(ReadError):
    """There is no file at the uri."""


class AccessDeniedError(ReadError):
    """The file at the uri may not be read with these credentials."""


class DecodeError(ImageError):
    """The bytes are not a picture that can be used."""

    stage = "decode"


class EmptyFileError(DecodeError):
    """The file has no bytes."""


class UnknownFormatError(DecodeError):
    """The bytes are of no picture format that is read here."""


class CorruptImageError(DecodeError):
    """The picture is truncated or damaged."""


class ImageTooLargeError(DecodeError):
    """The header announces more pixels than the limit."""


class UnknownLabelError(ImageError):
    """The label is not in the vocabulary given with ``--labels``."""

    stage = "label"


class ModelRejectedError(ImageError):
    """The model refused the pixels, or answered with NaN or infinity."""

    stage = "model"
