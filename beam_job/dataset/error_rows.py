"""errors.jsonl: a row for every image that gave no features."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from beam_job.core.records import Failure


def pack_failure(failure: Failure) -> bytes:
    """A failure as a line: an object with id, uri, stage, error, message, in ASCII."""
    return json.dumps(failure.to_json()).encode("ascii") + b"\n"


def read_failures(file: BinaryIO) -> Iterator[Failure]:
    """The failures in an errors.jsonl.

    Raises:
      ValueError, TypeError: a line is none.
    """
    for line in file:
        yield Failure(**json.loads(line))
