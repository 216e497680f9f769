"""Rows of text tables: CSV with whatever separates its columns, and JSONL. Names of columns lose blanks and case."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

Row = Mapping[str, Any]
# Longer marks first: that of UTF-16 begins like that of UTF-32.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LONGEST_MARK = 4
_DELIMITERS = ",;\t|"


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that cannot be parsed, with the sentence that says why."""

    problem: str


def open_text(file: BinaryIO) -> io.TextIOWrapper:
    """The text of a file: in the encoding of its mark, or UTF-8, where other bytes become surrogates (PEP 383)."""
    start = file.read(_LONGEST_MARK)
    file.seek(0)
    encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")
    return io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


def csv_rows(text: Iterable[str], needed: str) -> Iterator[tuple[int, Row | BadRow]]:
    """Line number and row of a CSV, whose first line names the columns.

    Cells without a name, such as the index that pandas writes, are left out. Blanks around cells do not count.

    Args:
      text: The lines.
      needed: A column that must be there: the delimiter is the one with which it is.
    """
    lines = iter(text)
    header = next(lines, "")
    delimiter = next((d for d in _DELIMITERS if needed in _names(header, d)), _DELIMITERS[0])
    names = _names(header, delimiter)
    reader = csv.reader(itertools.chain(["\n"], lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, BadRow(f"expected a row of CSV, found {error}")
            continue
        if not cells:
            continue
        if any(cells[len(names) :]):
            yield reader.line_num, BadRow(f"expected {len(names)} columns, found {len(cells) - len(names)} more")
        else:
            yield reader.line_num, {name: cell for name, cell in zip(names, cells, strict=False) if name}


def _names(header: str, delimiter: str) -> list[str]:
    return [plain_name(cell) for cell in next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])]


def jsonl_rows(text: Iterable[str]) -> Iterator[tuple[int, Row | BadRow]]:
    """Line number and row of a file with a JSON object per line."""
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, BadRow(f"expected a JSON object, found {error}")
            continue
        if isinstance(row, dict):
            yield number, {plain_name(name): value for name, value in row.items()}
        else:
            yield number, BadRow(f"expected a JSON object, found {type(row).__name__}")


def plain_name(name: str) -> str:
    """The name of a column without blanks around it, in lower case.

    >>> plain_name(" Label ")
    'label'
    """
    return name.strip().casefold()
