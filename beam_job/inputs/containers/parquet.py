"""Parquet files with the examples in a column, as Hugging Face's datasets and pandas write them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar, NamedTuple

from beam_job.core.errors import EmptyFileError, ExampleError, InputError
from beam_job.core.records import Content, ErrorRow, ExampleRef, PassedOver, Piece
from beam_job.inputs.base import Columns, ExampleFiles
from beam_job.inputs.containers.base import UNREADABLE, WHOLE_RUN, ContainerFormat, info_of, lost, runs
from beam_job.inputs.labels import as_id, as_label, kept_of, label_name
from beam_job.inputs.parquet_tables import BYTES, Footer, is_binary, is_struct_of_bytes, is_text, read_footer
from beam_job.runtime import storage
from beam_job.runtime.storage import FileInfo

# Row groups are read together up to so many bytes of the columns that are needed.
_PIECE_BYTES = storage.STREAMED_BYTES
_ROWS_AT_ONCE = 32
_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "audio", "wav", "flac", "mp3", "bytes", "content", "data")
_TEXT_NAMES = ("text", "sentence", "content")
# The key of Hugging Face's description of the columns, and its types with examples in them.
_DESCRIPTION, _CLASS_LABEL, _FEATURES = b"huggingface", "ClassLabel", ("Image", "Audio")
_LISTS = ("Sequence", "List", "LargeList")


@dataclasses.dataclass(frozen=True)
class _Table:
    """What the columns of a file are.

    Attributes:
      content: The column with the examples.
      leaf: The path, within it, of the bytes or the text.
      label: The column with the labels, or None.
      names: The names of the labels, where they are numbers of them.
    """

    content: str
    leaf: str
    label: str | None
    names: Sequence[str] | None


class _Group(NamedTuple):
    """A row group of an open file.

    Attributes:
      file: The open file.
      footer: Its footer.
      place: Its place in the file.
      number: The number of its first row in the file.
      rows: The number of its rows.
      leaves: The columns that are wanted.
    """

    file: BinaryIO
    footer: Footer
    place: int
    number: int
    rows: int
    leaves: Sequence[str]


class Parquet(ContainerFormat):
    """Rows of Parquet files; a piece is some row groups of a file, of which only the columns that are needed are read.

    The examples are in a column of bytes, or of bytes with a path, as Hugging Face has images; texts are in a column
    of text. The id is the file's name and the number of the row, unless ``--id_column`` names a column.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    takes: ClassVar[frozenset[str]] = frozenset(
        {"image_column", "text_column", "label_column", "id_column", "keep_columns"}
    )

    def vocabulary(self, info: FileInfo) -> Sequence[str] | None:
        try:
            schema = read_footer(info).metadata.schema.to_arrow_schema()
        except UNREADABLE:
            raise
        except _damages():
            return None
        label = _label_column(schema, self.columns)
        return _class_names(schema, label) if label else None

    def check_examples(self, infos: Sequence[FileInfo], files: ExampleFiles) -> None:
        for info in infos:
            try:
                schema = read_footer(info).metadata.schema.to_arrow_schema()
            except UNREADABLE:
                raise
            except _damages():
                continue
            _table(schema, self.columns, files)
            return

    def places(self, info: FileInfo) -> Iterator[str]:
        try:
            footer = read_footer(info)
        except UNREADABLE:
            raise
        except _damages():
            yield WHOLE_RUN
            return
        groups = range(footer.metadata.num_row_groups)
        yield from runs((footer.metadata.row_group(group).total_byte_size for group in groups), _PIECE_BYTES)

    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        info = info_of(piece)
        first, last = map(int, piece.place.split("-"))
        number = rows = 0
        try:
            footer = read_footer(info)
            counts = [footer.metadata.row_group(group).num_rows for group in range(last + 1)]
            number, rows = sum(counts[:first]), sum(counts[first:])
            table = _table(footer.metadata.schema.to_arrow_schema(), self.columns, files)
            named = [name for name in (table.label, self.columns.id_column) if name is not None]
            leaves = [*([table.leaf] if contents else []), *named, *self.columns.kept]
            ranges = _ranges(info, footer, range(first, last + 1), leaves)
        except UNREADABLE:
            raise
        except _damages() as error:
            yield _lost(piece, f"from row {number}", rows, str(error))
            return
        with storage.open_random(info, ranges, request_bytes, footer.tail) as file:
            for place in range(first, last + 1):
                group = _Group(file, footer, place, number, counts[place], leaves)
                yield from self._group(piece, table, group, contents)
                number += counts[place]

    def _group(self, piece: Piece, table: _Table, group: _Group, contents: bool) -> Iterator[Content]:
        """The examples of a row group, and a row for those that are lost in it."""
        done = 0
        try:
            for rows in _rows(group):
                for row in rows:
                    if done == group.rows:
                        raise ValueError("there are more rows in it than its footer says")
                    yield self._content(piece, table, row, group.number + done, contents)
                    done += 1
            if done < group.rows:
                raise ValueError("there are fewer rows in it than its footer says")
        except UNREADABLE:
            raise
        except _damages() as error:
            yield _lost(piece, f"row group {group.place}", group.rows - done, str(error))

    def _content(self, piece: Piece, table: _Table, row: dict[str, Any], number: int, contents: bool) -> Content:
        ref = ExampleRef(f"{piece.name}/{number}", piece.uri, version=piece.version, member=f"parquet:{number}")
        try:
            if self.columns.id_column is not None:
                ref = dataclasses.replace(ref, id=as_id(row[self.columns.id_column]))
            if table.label is not None:
                ref = dataclasses.replace(ref, label=as_label(row[table.label], table.label, table.names))
            if self.columns.kept:
                ref = dataclasses.replace(ref, kept=kept_of(row, self.columns.kept))
            return ref, _bytes(row[table.content], table.leaf) if contents else b""
        except ExampleError as error:
            return ref, ErrorRow.of(ref, error)


def _lost(piece: Piece, name: str, count: int, reason: str) -> Content:
    """The row for so many rows that are lost; none where more were found than there should be."""
    words = f"{count} rows are lost" if count else "rows may be lost"
    return lost(piece, name, f"{words}: {' '.join(reason.split())[:200]}", count)


def _damages() -> tuple[type[Exception], ...]:
    """What reading a file raises that is damaged, or has other columns than the first one."""
    from pyarrow import ArrowException

    return InputError, OSError, ArrowException, MemoryError, ValueError, OverflowError, LookupError, TypeError


def _rows(group: _Group) -> Iterator[list[dict[str, Any]]]:
    """The rows of a row group, a few at a time, with the columns that are wanted."""
    if not group.leaves:
        empty: dict[str, Any] = {}
        yield from ([empty] for _ in range(group.rows))
        return
    from pyarrow import parquet

    file = parquet.ParquetFile(group.file, metadata=group.footer.metadata, pre_buffer=False, buffer_size=1 << 20)
    for batch in file.iter_batches(_ROWS_AT_ONCE, [group.place], list(group.leaves), use_threads=False):
        yield batch.to_pylist()


def _ranges(info: FileInfo, footer: Footer, groups: Sequence[int], leaves: Sequence[str]) -> list[tuple[int, int]]:
    """First byte and number of bytes of the columns that are wanted, in some row groups; only for a store.

    pyarrow ends the process where it is asked for a column whose description in the footer is damaged; reading the
    column raises instead. A local file is read without asking.
    """
    if storage.is_local(info.path):
        return []
    ranges = []
    for group in groups:
        columns = (footer.metadata.row_group(group).column(number) for number in range(footer.metadata.num_columns))
        for column in columns:
            path = column.path_in_schema
            if any(path == leaf or path.startswith(f"{leaf}.") for leaf in leaves):
                starts = [column.data_page_offset, column.dictionary_page_offset]
                ranges.append((min(start for start in starts if start), column.total_compressed_size))
    return ranges


def _table(schema: Any, columns: Columns, files: ExampleFiles) -> _Table:
    from pyarrow import types

    for name in columns.kept:
        _check_column(schema, name, "keep_columns")
    if columns.id_column is not None:
        _check_column(schema, columns.id_column, "id_column")
    content = _content_column(schema, columns, files)
    kind = schema.field(content).type
    label = _label_column(schema, columns)
    if label is not None:
        found = schema.field(label).type
        if types.is_nested(found) and not (_is_list(found) and not types.is_nested(found.value_type)):
            raise InputError(
                f"Expected a label or a list of labels in each row, found the column {label!r} of {found}."
            )
    leaf = f"{content}.{BYTES}" if is_struct_of_bytes(kind) else content
    return _Table(content, leaf, label, _class_names(schema, label) if label else None)


def _content_column(schema: Any, columns: Columns, files: ExampleFiles) -> str:
    """The column with the examples.

    Raises:
      InputError: there is none, or it cannot be told which one.
    """
    option = "text_column" if files.texts else "image_column"
    named = columns.text_column if files.texts else columns.image_column
    fits = is_text if files.texts else is_binary
    if named is not None:
        _check_column(schema, named, option)
        if not fits(schema.field(named).type):
            wanted = "text" if files.texts else "bytes, or of bytes and a path"
            raise InputError(
                f"Expected a column of {wanted}, found the column {named!r} of {schema.field(named).type}; lists of "
                f"examples in a row are not read."
            )
        return named
    described = [name for name, feature in _described(schema).items() if _inner(feature).get("_type") in _FEATURES]
    found = [field.name for field in schema if fits(field.type)]
    if not files.texts and len(described) == 1 and described[0] in found:
        return described[0]
    usual = [name for name in (_TEXT_NAMES if files.texts else _IMAGE_NAMES) if name in found]
    if len(found) == 1 and (usual or not files.texts):
        return str(found[0])
    if usual:
        return usual[0]
    kinds = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise InputError(f"Expected a column with the examples, found the columns {kinds}; name it with --{option}.")


def _label_column(schema: Any, columns: Columns) -> str | None:
    if columns.label_column is not None:
        _check_column(schema, columns.label_column, "label_column")
        return columns.label_column
    described = [name for name, feature in _described(schema).items() if _inner(feature).get("_type") == _CLASS_LABEL]
    if len(described) == 1 and described[0] in schema.names:
        return described[0]
    return label_name(schema.names)


def _check_column(schema: Any, name: str, option: str) -> None:
    if name not in schema.names:
        raise InputError(f"Expected a column {name!r}, as --{option} says, found {', '.join(schema.names)}.")


def _described(schema: Any) -> dict[str, Any]:
    """Column to its feature, as Hugging Face's datasets describe it in the file."""
    try:
        features = json.loads((schema.metadata or {})[_DESCRIPTION])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, (dict, list))}


def _inner(feature: Any) -> Mapping[str, Any]:
    """The feature of the items of a list, as its versions describe it; any other feature itself."""
    if isinstance(feature, list):
        return _inner(feature[0]) if len(feature) == 1 else {}
    if not isinstance(feature, dict):
        return {}
    return _inner(feature["feature"]) if feature.get("_type") in _LISTS and "feature" in feature else feature


def _class_names(schema: Any, label: str) -> Sequence[str] | None:
    feature = _inner(_described(schema).get(label, {}))
    names = feature.get("names") if feature.get("_type") == _CLASS_LABEL else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _bytes(value: Any, leaf: str) -> bytes:
    if isinstance(value, dict):
        value = value.get(BYTES)
    if value is None:
        raise EmptyFileError(f"expected bytes in {leaf}, found none; files that are named there are not read")
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)
