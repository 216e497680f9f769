"""A manifest: a CSV, JSONL or Parquet file with a row per example, or annotations of COCO."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from beam_job.core.errors import BadReferenceError, InputError
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.core.sharding import is_split_name
from beam_job.inputs import vertex
from beam_job.inputs.base import PLAIN_COLUMNS, Columns, ExampleFiles, Listing, readable_id
from beam_job.inputs.clips import clip_of
from beam_job.inputs.coco import coco_rows, images_root, read_coco
from beam_job.inputs.globs import is_glob
from beam_job.inputs.labels import as_label, kept_of
from beam_job.inputs.manifest_columns import (
    END,
    GROUP,
    SPLIT,
    START,
    URI,
    URI_SYNONYMS,
    ManifestColumns,
    needed_columns,
    read_columns,
)
from beam_job.inputs.parquet_tables import names_files, parquet_rows
from beam_job.inputs.tables import BadRow, Lines, Row, Span, csv_rows, jsonl_rows
from beam_job.inputs.texts import find_text, text_ref
from beam_job.runtime import storage

_CSV, _JSONL, _PARQUET, _COCO = ".csv", ".jsonl", ".parquet", ".json"
# Line number, row and place.
_Numbered = tuple[int, Row | BadRow | PassedOver, Span]
# What every manifest takes of what the user says.
TAKEN = frozenset({"image_column", "text_column", "label_column", "id_column", "keep_columns", "root"})
# Rows that a launch looks at.
_CHECKED_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Manifest(Listing):
    """Rows with a uri or a text, and optionally label, id, split, group, and start and end for clips of sound.

    A uri that is no URL and no absolute path is relative to ``--root``, or to the manifest's directory. Without an id,
    the path relative to that directory is the id, and for a text the line. For models of texts, a text comes before a
    uri; for others, only the uri counts. A row that cannot be used becomes an error row, named by its line.

    Attributes:
      path: The file.
      columns: What its columns are called, and the root.
      below: What ids that the manifest does not give begin with.
      split: The split of rows that name none.
    """

    path: str
    columns: Columns = PLAIN_COLUMNS
    below: str = ""
    split: str | None = None
    ids_unique: ClassVar[bool] = False
    has_columns: ClassVar[bool] = True

    @property
    def takes(self) -> frozenset[str]:
        return TAKEN | {"crops"} if self._is_coco else TAKEN

    @classmethod
    def matches(cls, path: str) -> bool:
        lower = storage.without_query(path).lower()
        if lower.endswith((_CSV, _JSONL)) or (lower.endswith(_COCO) and not is_glob(path) and storage.exists(path)):
            return True
        # A Parquet file is a manifest if it names files, and a container if it has the examples themselves.
        return lower.endswith(_PARQUET) and not is_glob(path) and names_files(path, (URI, URI_SYNONYMS[0]))

    def check(self) -> list[str]:
        try:
            names, rows = self._opened()
            first = [row for _, row, _ in itertools.islice(rows, _CHECKED_ROWS) if not isinstance(row, PassedOver)]
        except FileNotFoundError:
            raise InputError(f"There is no manifest at {self.path!r}.") from None
        except (OSError, UnicodeError) as error:
            raise InputError(f"The manifest {self.path!r} cannot be read: {error}") from None
        if not first:
            raise InputError(f"The manifest {self.path!r} has no rows, so there is nothing to extract.")
        good = [row for row in first if not isinstance(row, BadRow)]
        if not good:
            return []
        known = ", ".join(map(readable_id, good[0])) or "none"
        if not names.have_content:
            raise InputError(
                f"Expected the manifest {self.path!r} to have the columns {names.in_words()}, found {known}; name the "
                f"column that holds the paths with --image_column, or that of the texts with --text_column."
            )
        for option, name in names.named():
            if name not in names.known:
                raise InputError(
                    f"Expected a column {name!r} in the manifest {self.path!r}, as --{option} says, found {known}."
                )
        labels = (row.get(names.label) for row in good)
        odd = next((readable_id(str(label)) for label in labels if _is_not_utf_8(label)), None)
        if odd is not None:
            raise InputError(f"Expected the manifest {self.path!r} in UTF-8, found the label {odd!r}; save it so.")
        return names.notes()

    def _opened(self) -> tuple[ManifestColumns, Iterator[_Numbered]]:
        """What the columns are, by the first rows, and all rows."""
        rows = self._rows()
        first = list(itertools.islice(rows, _CHECKED_ROWS))
        known = (row for _, row, _ in first if not isinstance(row, (BadRow, PassedOver)))
        return ManifestColumns.of(self.columns, known), itertools.chain(first, rows)

    def vocabulary(self) -> Sequence[str] | None:
        if not self._is_coco or self.columns.label_column is not None:
            return None
        return read_coco(storage.info_of(self.path)).names

    def units(self) -> Iterator[str]:
        yield self.path

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        names, rows = self._opened()
        if names.known and names.uri not in names.known and not files.texts:
            raise InputError(
                f"Expected a column {names.uri} with paths in the manifest {self.path!r}, since the model takes no "
                f"texts; found {', '.join(sorted(map(readable_id, names.known)))}."
            )
        for line, row, span in rows:
            if isinstance(row, PassedOver):
                yield row
                continue
            try:
                if isinstance(row, BadRow):
                    raise BadReferenceError(row.problem)
                text = _text(row, names.text) if files.texts else None
                if text is None:
                    yield self._file_ref(row, names, files)
                else:
                    name = _text(row, names.id) or self._line_id(line)
                    yield text_ref("manifest", unit, text, span, id=name, **self._assigned(row, names))
            except BadReferenceError as error:
                yield ExampleRef(self._line_id(line), unit, split=self.split, problem=f"line {line}: {error}")

    def _file_ref(self, row: Row, names: ManifestColumns, files: ExampleFiles) -> ExampleRef:
        """The ref of a row that names a file, or a clip or crop of one.

        Clips of one recording sound alike, so they are a group, unless the row names another one.
        """
        uri = _text(row, names.uri, any_bytes=True)
        if uri is None:
            raise BadReferenceError(f"expected a {names.uri}{f' or {names.text}' if files.texts else ''}, found none")
        uri = _located(uri, self._root)
        name, assigned = self.below + readable_id(storage.relative(uri, self._root)), self._assigned(row, names)
        start, end = clip_of(_seconds(row, START), _seconds(row, END)) if files.clips else (None, None)
        if start is not None:
            assigned["group"] = assigned["group"] or name
            name = f"{name}:{_plain(start)}-{'' if end is None else _plain(end)}"
        name = _text(row, names.id) or name
        box = row["box"] if self.columns.crops else None
        return ExampleRef(
            id=name if box is None else f"{name}/{row['annotation_id']}",
            uri=uri,
            version=storage.version_of(uri),
            start=start,
            end=end,
            box=box,
            **assigned,
        )

    def _assigned(self, row: Row, names: ManifestColumns) -> dict[str, Any]:
        """The label, the split, the group and the kept columns of a row."""
        split = _text(row, SPLIT) or self.split
        if split is not None and not is_split_name(split):
            raise BadReferenceError(
                f"expected a split of a letter, then letters, digits and underscores, found {split!r}"
            )
        value = row.get(names.label)
        label = as_label(_text(row, names.label) if isinstance(value, str) else value, names.label)
        return {"label": label, "split": split, "group": _text(row, GROUP), "kept": kept_of(row, names.kept)}

    @classmethod
    def read_member(cls, uri: str, member: str) -> bytes:
        return find_text(uri, member)

    @property
    def _suffix(self) -> str:
        return posixpath.splitext(storage.without_query(self.path))[1].lower()

    @property
    def _is_coco(self) -> bool:
        return self._suffix == _COCO

    @functools.cached_property
    def _root(self) -> str:
        """The directory that paths are relative to."""
        if self.columns.root is not None:
            return storage.absolute(self.columns.root)
        return images_root(storage.info_of(self.path)) if self._is_coco else storage.parent(self.path)

    def _line_id(self, line: int) -> str:
        path = storage.without_query(self.path)
        return self.below + readable_id(f"{storage.relative(path, storage.parent(path))}:{line}")

    def _rows(self) -> Iterator[_Numbered]:
        """Line number, row and place."""
        if self._suffix == _PARQUET:
            yield from parquet_rows(self.path, read_columns(self.columns))
        elif self._is_coco:
            yield from coco_rows(storage.info_of(self.path), bool(self.columns.crops))
        else:
            with storage.open_read(self.path) as file:
                lines = Lines(file)
                yield from self._csv_rows(lines) if self._suffix == _CSV else _jsonl_rows(lines)

    def _csv_rows(self, lines: Lines) -> Iterator[tuple[int, Row | BadRow, Span]]:
        before = 0
        while (first := next(iter(lines), "")) and not first.strip():
            before += 1
        if vertex.is_csv(first):
            return vertex.csv_rows(itertools.chain(["\n"] * before, [first], lines))
        return csv_rows(lines, first, needed_columns(self.columns), before)


def _jsonl_rows(lines: Lines) -> Iterator[tuple[int, Row | BadRow, Span]]:
    for number, row, span in jsonl_rows(lines):
        yield number, row if isinstance(row, BadRow) else vertex.plain_row(row), span


def _located(uri: str, root: str) -> str:
    """An absolute path or a URL, from what stands in a manifest in the directory ``root``."""
    uri = storage.without_file_scheme(uri)
    if not storage.is_local(uri):
        return uri
    place = storage.join(root, uri)
    if "\\" in uri and storage.is_local(place) and not storage.exists(place):
        return storage.join(root, uri.replace("\\", "/"))  # as Windows writes paths
    return place


def _text(row: Row, column: str, any_bytes: bool = False) -> str | None:
    """A cell as text: integers in decimal, an empty cell as None.

    Bytes of a CSV that are not UTF-8 arrive as surrogates, which a uri keeps (``any_bytes``): a file may be called so.
    JSON can spell surrogates that stand for nothing.
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
    if not any_bytes and _is_not_utf_8(text):
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
