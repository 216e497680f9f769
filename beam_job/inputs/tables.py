"""Rows of text tables: CSV with whatever separates its columns, and JSONL. Names of columns lose blanks and case."""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from beam_job.core.errors import InputError

Row = Mapping[str, Any]
# The first byte of a row in its file, and the first after it; None in an encoding in which they are not counted.
Span = tuple[int, int] | None
# Longer marks first: that of UTF-16 begins like that of UTF-32.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LONGEST_MARK = 4
_COUNTED = ("utf-8", "utf-8-sig")
_DELIMITERS = ",;\t|"


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that cannot be parsed, with the sentence that says why."""

    problem: str


class Lines:
    """The lines of a text file, with the ends of lines, and where in the file they are.

    The encoding is that of the file's mark, or UTF-8, where other bytes become surrogates (PEP 383).

    Attributes:
      offset: The number of bytes before the next line; None where they are not counted.
    """

    def __init__(self, file: BinaryIO) -> None:
        start = file.read(_LONGEST_MARK)
        file.seek(0)
        mark, encoding = next((pair for pair in _MARKS.items() if start.startswith(pair[0])), (b"", "utf-8"))
        self._text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
        self.offset = len(mark) if encoding in _COUNTED else None

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            if self.offset is not None:
                self.offset += len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape"))
            yield line

    def numbered(self) -> Iterator[tuple[int, str, Span]]:
        """Each line with its number, from 1, and its place."""
        start = self.offset
        for number, line in enumerate(self, 1):
            span, start = self.span_from(start), self.offset
            yield number, line, span

    def span_from(self, start: int | None) -> Span:
        """The bytes from ``start`` to the next line."""
        return None if start is None or self.offset is None else (start, self.offset)


def csv_rows(
    lines: Lines, header: str, needed: Collection[str], before: int = 0
) -> Iterator[tuple[int, Row | BadRow, Span]]:
    """Line number, row and place of the rows of a CSV, whose first line names the columns.

    Cells without a name, such as the index that pandas writes, are left out. Blanks around cells do not count.

    Args:
      lines: The lines after the first one.
      header: The first line.
      needed: Columns of which one must be there: the delimiter is the one with which it is.
      before: Number of empty lines before the first one.

    Raises:
      InputError: two columns have one name.
    """
    delimiter = next((mark for mark in _DELIMITERS if not set(needed).isdisjoint(_names(header, mark))), _DELIMITERS[0])
    names = _names(header, delimiter)
    if twice := next((name for number, name in enumerate(names) if name and name in names[:number]), None):
        raise InputError(f"Expected every column of a manifest once, found {twice!r:.100} twice in its first line.")
    start = lines.offset
    for number, cells in csv_cells(itertools.chain(["\n"] * (before + 1), lines), delimiter):
        span, start = lines.span_from(start), lines.offset
        if isinstance(cells, BadRow):
            yield number, cells, None
        elif any(cells[len(names) :]):
            yield number, BadRow(f"expected {len(names)} columns, found {len(cells) - len(names)} more"), None
        else:
            yield number, {name: cell for name, cell in zip(names, cells, strict=False) if name}, span


def csv_cells(lines: Iterable[str], delimiter: str = ",") -> Iterator[tuple[int, list[str] | BadRow]]:
    """Line number and cells of the rows of a CSV, without blanks around them; rows without cells are left out.

    A quote that is not closed takes all lines after it: each of them is lost, and a row that cannot be parsed.
    """
    reader = _csv_reader(lines, delimiter)
    while True:
        before = reader.line_num
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            for number in range(before + 1, reader.line_num + 1):
                yield number, BadRow(f"expected a row of CSV, found {error} in the row from line {before + 1} on")
            continue
        if cells:
            yield reader.line_num, cells


def _csv_reader(lines: Iterable[str], delimiter: str) -> Any:
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)


def cells_of(row: bytes) -> Iterator[str]:
    """Everything that may be a cell of a row: of JSON, of a CSV with any delimiter, or the whole line."""
    text = row.decode("utf-8", "surrogateescape")
    yield text.rstrip("\r\n")
    with contextlib.suppress(ValueError, AttributeError):
        yield from (value for value in json.loads(text).values() if isinstance(value, str))
    for delimiter in _DELIMITERS:
        with contextlib.suppress(csv.Error, StopIteration):
            yield from (cell.strip() for cell in next(_csv_reader(io.StringIO(text, newline=""), delimiter)))


def _names(header: str, delimiter: str) -> list[str]:
    return [plain_name(cell) for cell in next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])]


def jsonl_rows(lines: Lines) -> Iterator[tuple[int, Row | BadRow, Span]]:
    """Line number, row and place of the rows of a file with a JSON object per line."""
    for number, line, span in lines.numbered():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadRow(f"expected a JSON object, found {error}"), None
            continue
        if not isinstance(row, dict):
            yield number, BadRow(f"expected a JSON object, found {type(row).__name__}"), None
            continue
        named = {plain_name(name): value for name, value in row.items()}
        if len(named) < len(row):
            yield number, BadRow(f"expected names that differ in more than case, found {', '.join(row):.200}"), None
        else:
            yield number, named, span


def plain_name(name: str) -> str:
    """The name of a column without blanks around it, in lower case.

    >>> plain_name(" Label ")
    'label'
    """
    return name.strip().casefold()
