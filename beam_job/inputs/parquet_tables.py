"""Parquet files as tables: their footers, and the rows of those that are manifests."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from beam_job.inputs.tables import BadRow, Row, Span, plain_name
from beam_job.runtime import storage
from beam_job.runtime.storage import FileInfo

_ROWS_AT_ONCE = 4096
# The field of a struct that holds the bytes of an example.
BYTES = "bytes"
# A file has not more rows than that, or than bytes, whatever it says.
_FREE_ROWS = 100_000_000


class Footer(NamedTuple):
    """What a Parquet file says of itself, and its last bytes, in which that is."""

    metadata: Any
    tail: bytes


@functools.lru_cache(maxsize=64)
def read_footer(info: FileInfo) -> Footer:
    """The footer of a file, which is read once in a process; raises what pyarrow does, or ValueError."""
    from pyarrow import parquet

    tail = storage.read_tail(info)
    with storage.open_random(info, tail=tail) as file:
        metadata = parquet.read_metadata(file)
    if metadata.num_rows > max(_FREE_ROWS, info.size):
        raise ValueError(f"{metadata.num_rows} rows in {info.size} bytes")
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    if any(group.num_columns != metadata.num_columns for group in groups):  # to ask such a group ends the process
        raise ValueError("a row group has other columns than the file")
    return Footer(metadata, tail)


def names_files(path: str, names: Collection[str]) -> bool:
    """Whether a Parquet file at a path has a column of text that is called by one of some names, and none of bytes."""
    from pyarrow import ArrowException

    try:
        kinds = {
            plain_name(field.name): field.type
            for field in read_footer(storage.info_of(path)).metadata.schema.to_arrow_schema()
        }
    except (OSError, ArrowException, ValueError):
        return False
    return any(is_text(kinds[name]) for name in names if name in kinds) and not any(map(is_binary, kinds.values()))


def is_text(kind: Any) -> bool:
    """Whether a column of this type holds texts."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def is_binary(kind: Any) -> bool:
    """Whether a column of this type holds bytes, or bytes with a path."""
    return _is_plain(kind) or is_struct_of_bytes(kind)


def is_struct_of_bytes(kind: Any) -> bool:
    """Whether a column of this type holds bytes with something else, as Hugging Face has images."""
    from pyarrow import types

    return bool(types.is_struct(kind)) and any(field.name == BYTES and _is_plain(field.type) for field in kind)


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def parquet_rows(path: str, wanted: Collection[str]) -> Iterator[tuple[int, Row | BadRow, Span]]:
    """Number, from 1, row and place of the rows of a table; the place is not told.

    Whole numbers that are floats, as pandas has integers beside missing ones, are integers again.

    Args:
      path: The file.
      wanted: The columns that are read, by their plain names.
    """
    from pyarrow import ArrowException, parquet

    info, number = storage.info_of(path), 0
    with storage.open_random(info, [(0, info.size)]) as file:
        table = parquet.ParquetFile(file)
        names = {name: plain_name(name) for name in table.schema_arrow.names}
        columns = [name for name, plain in names.items() if plain in wanted]
        try:
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=columns):
                cells = [map(_whole, column.to_pylist()) for column in batch.columns]
                for values in zip(*cells, strict=True):
                    number += 1
                    yield number, {names[name]: value for name, value in zip(columns, values, strict=True)}, None
        except (ArrowException, OSError, ValueError) as error:
            left = table.metadata.num_rows - number
            yield number + 1, BadRow(f"this row and the {left - 1} after it cannot be read: {error}"), None


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else value
    return value
