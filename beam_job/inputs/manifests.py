"""A manifest: a CSV or JSONL file with a row per example."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from beam_job.core.errors import BadReferenceError, InputError
from beam_job.core.records import ExampleRef
from beam_job.core.sharding import is_split_name
from beam_job.inputs.base import Source, readable_id
from beam_job.runtime import storage

_SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("uri", "label", "id", "split", "group")
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Manifest(Source):
    """Rows with the columns uri, and optionally label, id, split, group; other columns are ignored.

    A uri that is no URL and no absolute path is relative to the manifest's directory. Without an id, the path relative
    to that directory is the id. A row that cannot be used becomes an error row, named by its line.
    """

    path: str
    ids_unique: ClassVar[bool] = False

    @classmethod
    def matches(cls, path: str) -> bool:
        return path.lower().endswith(_SUFFIXES)

    def check(self) -> None:
        try:
            first = next(self._rows(), None)
        except FileNotFoundError:
            raise InputError(f"There is no manifest at {self.path!r}.") from None
        except OSError as error:
            raise InputError(f"The manifest {self.path!r} cannot be read: {error}") from None
        if first is None:
            raise InputError(f"The manifest {self.path!r} has no rows, so there is nothing to extract.")
        columns = [str(name) for name in first[1]] if isinstance(first[1], Mapping) else []
        if isinstance(first[1], Mapping) and "uri" not in columns:
            raise InputError(
                f"Expected the manifest {self.path!r} to have the columns {', '.join(COLUMNS)} (only uri is needed), "
                f"found {', '.join(columns) or 'none'}; rename the column that holds the paths."
            )

    def units(self) -> Iterator[str]:
        yield self.path

    def refs(self, unit: str, suffixes: Collection[str]) -> Iterator[ExampleRef]:
        root = storage.parent(unit)
        for line, row in self._rows():
            try:
                yield _ref(row, root)
            except BadReferenceError as error:
                name = f"{storage.relative(unit, root)}:{line}"
                yield ExampleRef(name, unit, problem=f"line {line}: {error}")

    def _rows(self) -> Iterator[tuple[int, Row | str]]:
        """Line number and row; a row that cannot be parsed comes as the sentence that says why."""
        with storage.open_read(self.path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            if self.path.lower().endswith(".csv"):
                yield from _csv_rows(text)
            else:
                yield from _jsonl_rows(text)


def _csv_rows(text: io.TextIOWrapper) -> Iterator[tuple[int, Row | str]]:
    reader = csv.DictReader(text, restkey="", strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"expected a row of CSV, found {error}"
            continue
        if "" in row:
            yield reader.line_num, f"expected {len(reader.fieldnames or ())} columns, found {len(row[''])} more"
        else:
            yield reader.line_num, row


def _jsonl_rows(text: io.TextIOWrapper) -> Iterator[tuple[int, Row | str]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, f"expected a JSON object, found {error}"
            continue
        yield number, row if isinstance(row, dict) else f"expected a JSON object, found {type(row).__name__}"


def _ref(row: Row | str, root: str) -> ExampleRef:
    if isinstance(row, str):
        raise BadReferenceError(row)
    uri = _text(row, "uri")
    if uri is None:
        raise BadReferenceError("expected a uri, found none")
    if storage.is_local(uri) and not uri.startswith("/"):
        uri = storage.join(root, uri)
    split = _text(row, "split")
    if split is not None and not is_split_name(split):
        raise BadReferenceError(f"expected a split of letters, digits and underscores, found {split!r}")
    return ExampleRef(
        id=_text(row, "id") or readable_id(storage.relative(uri, root)),
        uri=uri,
        label=_text(row, "label"),
        split=split,
        group=_text(row, "group"),
        version=storage.version_of(uri),
    )


def _text(row: Row, column: str) -> str | None:
    """A cell as text: integers in decimal, an empty cell as None.

    Bytes of a CSV that are not UTF-8 arrive as escaped surrogates (PEP 383), and a uri keeps them: a file may be called
    so. JSON can spell surrogates that stand for nothing.
    """
    value = row.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadReferenceError(f"expected {column} to be text or an integer, found {value!r}")
    text = str(value)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadReferenceError(f"expected {column} to be Unicode text, found {text!r}") from None
    return text if column == "uri" else readable_id(text)
