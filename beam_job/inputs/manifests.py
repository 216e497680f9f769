"""A manifest: a CSV, JSONL or Parquet file with a row per example."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

from beam_job.core.errors import BadReferenceError, InputError
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.core.sharding import is_split_name
from beam_job.inputs.base import PLAIN_COLUMNS, Columns, ExampleFiles, Listing, readable_id
from beam_job.inputs.clips import clip_of
from beam_job.inputs.globs import is_glob
from beam_job.inputs.parquet_tables import has_text_column, parquet_rows
from beam_job.inputs.tables import BadRow, Lines, Row, Span, csv_rows, jsonl_rows, plain_name
from beam_job.inputs.texts import find_text, text_ref
from beam_job.runtime import storage

_CSV, _JSONL, _PARQUET = ".csv", ".jsonl", ".parquet"
_URI = "uri"
_OTHER_COLUMNS = ("label", "id", "split", "group")
# What a column of labels is called when it is not called so.
_LABEL_SYNONYMS = ("labels", "class", "classes", "class_name", "category", "target")
# Rows that a launch looks at.
_CHECKED_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Manifest(Listing):
    """Rows with a uri or a text, and optionally label, id, split, group, and start and end for clips of sound.

    Other columns are ignored.

    A uri that is no URL and no absolute path is relative to the manifest's directory. Without an id, the path relative
    to that directory is the id, and for a text the line. For models of texts, a text comes before a uri; for others,
    only the uri counts. A row that cannot be used becomes an error row, named by its line.
    """

    path: str
    columns: Columns = PLAIN_COLUMNS
    ids_unique: ClassVar[bool] = False
    takes = frozenset({"text_column"})
    has_columns: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        if path.lower().endswith((_CSV, _JSONL)):
            return True
        # A Parquet file is a manifest if it names files, and a container if it has the examples themselves.
        return path.lower().endswith(_PARQUET) and not is_glob(path) and has_text_column(path, _URI)

    def check(self) -> list[str]:
        try:
            rows = [row for _, row, _ in itertools.islice(self._rows(), _CHECKED_ROWS)]
        except FileNotFoundError:
            raise InputError(f"There is no manifest at {self.path!r}.") from None
        except (OSError, UnicodeError) as error:
            raise InputError(f"The manifest {self.path!r} cannot be read: {error}") from None
        if not rows:
            raise InputError(f"The manifest {self.path!r} has no rows, so there is nothing to extract.")
        if isinstance(rows[0], BadRow):
            return []
        if not any(name in rows[0] for name in self._contents):
            known = ", ".join((_URI, self._text_column, *_OTHER_COLUMNS, "start", "end"))
            raise InputError(
                f"Expected the manifest {self.path!r} to have the columns {known} (only {' or '.join(self._contents)} "
                f"is needed), found {', '.join(map(readable_id, rows[0])) or 'none'}; rename the column that holds the "
                f"paths, or name that of the texts with --text_column."
            )
        labels = (row.get(_label_column(row)) for row in rows if not isinstance(row, BadRow))
        odd = next((readable_id(str(label)) for label in labels if _is_not_utf_8(label)), None)
        if odd is not None:
            raise InputError(f"Expected the manifest {self.path!r} in UTF-8, found the label {odd!r}; save it so.")
        return _notes(rows[0])

    def units(self) -> Iterator[str]:
        yield self.path

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        root, checked = storage.parent(unit), False
        for line, row, span in self._rows():
            if not checked and not isinstance(row, BadRow):
                self._check_columns(row, files)
                checked = True
            try:
                if isinstance(row, BadRow):
                    raise BadReferenceError(row.problem)
                text = _text(row, self._text_column) if files.texts else None
                if text is None:
                    yield _file_ref(row, root, files, f"{_URI} or {self._text_column}" if files.texts else _URI)
                else:
                    name = _text(row, "id") or _line_id(unit, line)
                    yield text_ref("manifest", unit, text, span, id=name, **_assigned(row))
            except BadReferenceError as error:
                yield ExampleRef(_line_id(unit, line), unit, problem=f"line {line}: {error}")

    def _check_columns(self, row: Row, files: ExampleFiles) -> None:
        if _URI not in row and not files.texts:
            raise InputError(
                f"Expected a column {_URI} with paths in the manifest {self.path!r}, since the model takes no texts; "
                f"found {', '.join(map(readable_id, row))}."
            )

    @classmethod
    def read_member(cls, uri: str, member: str) -> bytes:
        return find_text(uri, member)

    @property
    def _text_column(self) -> str:
        return plain_name(self.columns.text_column or "text")

    @property
    def _contents(self) -> tuple[str, str]:
        """The columns of which one says what the example is."""
        return _URI, self._text_column

    def _rows(self) -> Iterator[tuple[int, Row | BadRow, Span]]:
        """Line number, row and place."""
        if self.path.lower().endswith(_PARQUET):
            yield from parquet_rows(self.path, {*self._contents, *_OTHER_COLUMNS, *_LABEL_SYNONYMS, "start", "end"})
            return
        with storage.open_read(self.path) as file:
            lines = Lines(file)
            yield from csv_rows(lines, self._contents) if self.path.lower().endswith(_CSV) else jsonl_rows(lines)


def _line_id(path: str, line: int) -> str:
    return readable_id(f"{storage.relative(path, storage.parent(path))}:{line}")


def _file_ref(row: Row, root: str, files: ExampleFiles, needed: str) -> ExampleRef:
    """The ref of a row that names a file, or a clip of one; ``needed`` says what a row must have.

    Clips of one recording sound alike, so they are a group, unless the row names another one.
    """
    uri = _text(row, _URI)
    if uri is None:
        raise BadReferenceError(f"expected a {needed}, found none")
    uri = _located(uri, root)
    name, assigned = readable_id(storage.relative(uri, root)), _assigned(row)
    start, end = clip_of(_seconds(row, "start"), _seconds(row, "end")) if files.clips else (None, None)
    if start is not None:
        assigned["group"] = assigned["group"] or name
        name = f"{name}:{_plain(start)}-{'' if end is None else _plain(end)}"
    version = storage.version_of(uri)
    return ExampleRef(id=_text(row, "id") or name, uri=uri, version=version, start=start, end=end, **assigned)


def _assigned(row: Row) -> dict[str, Any]:
    """The label, the split and the group of a row."""
    split = _text(row, "split")
    if split is not None and not is_split_name(split):
        raise BadReferenceError(f"expected a split of letters, digits and underscores, found {split!r}")
    return {"label": _text(row, _label_column(row)), "split": split, "group": _text(row, "group")}


def _located(uri: str, root: str) -> str:
    """An absolute path or a URL, from what stands in a manifest in the directory ``root``."""
    uri = storage.without_file_scheme(uri)
    if not storage.is_local(uri):
        return uri
    place = storage.join(root, uri)
    if "\\" in uri and storage.is_local(place) and not storage.exists(place):
        return storage.join(root, uri.replace("\\", "/"))  # as Windows writes paths
    return place


def _notes(row: Row) -> list[str]:
    """Which column is taken as the label, where that is not plain."""
    found = _called_alike(row)
    if len(found) == 1:
        return [f"the column {found[0]!r} is taken as the label"]
    names = ", ".join(map(repr, found))
    return [f"none of the columns {names} is taken as the label; call one of them 'label'"] if found else []


def _label_column(row: Row) -> str:
    """The column that holds the label: ``label``, or the one that is called alike."""
    found = _called_alike(row)
    return found[0] if len(found) == 1 else "label"


def _called_alike(row: Row) -> list[str]:
    """The columns that may be the label of a row without a column ``label``."""
    return [] if "label" in row else [name for name in _LABEL_SYNONYMS if name in row]


def _text(row: Row, column: str) -> str | None:
    """A cell as text: integers in decimal, an empty cell as None.

    Bytes of a CSV that are not UTF-8 arrive as surrogates, and a uri keeps them: a file may be called so. JSON can
    spell surrogates that stand for nothing.
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
    if column != _URI and _is_not_utf_8(text):
        raise BadReferenceError(f"expected {column} in UTF-8, found {readable_id(text)!r}; save the manifest as UTF-8")
    return text


def _plain(seconds: float) -> str:
    """A number as people write it: 2 for 2.0, and all digits of others."""
    return repr(seconds).removesuffix(".0")


def _seconds(row: Row, column: str) -> str | None:
    """A cell that holds seconds, as text; JSON may hold a number."""
    value = row.get(column)
    return str(value) if isinstance(value, float) else _text(row, column)


def _is_not_utf_8(value: Any) -> bool:
    return isinstance(value, str) and any("\udc80" <= letter <= "\udcff" for letter in value)
