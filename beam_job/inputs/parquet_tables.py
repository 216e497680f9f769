"""Rows of Parquet tables that are manifests."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from beam_job.inputs.tables import BadRow, Row, Span, plain_name
from beam_job.runtime import storage

_ROWS_AT_ONCE = 4096


def has_text_column(path: str, name: str) -> bool:
    """Whether there is a Parquet file at a path, with a column of text that is called so."""
    from pyarrow import ArrowException, parquet, types

    try:
        info = storage.info_of(path)
        with storage.open_random(info, ()) as file:
            schema = parquet.read_schema(file)
    except (OSError, ArrowException, ValueError):
        return False
    kinds = {plain_name(field.name): field.type for field in schema}
    return name in kinds and bool(types.is_string(kinds[name]) or types.is_large_string(kinds[name]))


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
