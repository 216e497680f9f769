"""errors.jsonl: a row for every example that gave no features."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from beam_job.core.records import ErrorRow


def pack_error_row(row: ErrorRow) -> bytes:
    """A row as a line: an object with id, uri, stage, error, message, in ASCII."""
    return json.dumps(row.to_json()).encode("ascii") + b"\n"


def read_error_rows(file: BinaryIO) -> Iterator[ErrorRow]:
    """The rows of an errors.jsonl.

    Raises:
      ValueError, TypeError: a line is not a row.
    """
    for line in file:
        yield ErrorRow(**json.loads(line))
