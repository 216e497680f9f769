"""Which columns of a manifest are what: as they are usually called, or as the user says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

from beam_job.inputs.base import Columns
from beam_job.inputs.labels import LABEL, LABEL_NAMES, label_name
from beam_job.inputs.tables import Row, plain_name

URI, TEXT, ID, SPLIT, GROUP = "uri", "text", "id", "split", "group"
START, END = "start", "end"
# What a column of paths is called when it is not called uri; the first is Hugging Face's name.
URI_SYNONYMS = ("file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image", "url")


def needed_columns(columns: Columns) -> list[str]:
    """The columns of which one is there in every manifest."""
    named = columns.image_column
    return [plain_name(columns.text_column or TEXT), *([plain_name(named)] if named else (URI, *URI_SYNONYMS))]


def read_columns(columns: Columns) -> set[str]:
    """All columns that may be read."""
    named = (columns.label_column or LABEL, columns.id_column or ID, *columns.kept)
    return {*needed_columns(columns), *LABEL_NAMES, SPLIT, GROUP, START, END, *map(plain_name, named)}


@dataclasses.dataclass(frozen=True)
class ManifestColumns:
    """The columns of a manifest, decided once for all of its rows; names of columns are in lower case here.

    Attributes:
      columns: What the user calls them.
      known: Those that its first rows have.
    """

    columns: Columns
    known: frozenset[str]

    @classmethod
    def of(cls, columns: Columns, rows: Iterable[Row]) -> ManifestColumns:
        """The columns of a manifest that begins with these rows."""
        return cls(columns, frozenset(name for row in rows for name in row))

    @functools.cached_property
    def uri(self) -> str:
        """The column with the paths."""
        if self.columns.image_column is not None:
            return plain_name(self.columns.image_column)
        found = [] if URI in self.known else [name for name in URI_SYNONYMS if name in self.known]
        return found[0] if len(found) == 1 or found[:1] == [URI_SYNONYMS[0]] else URI

    @functools.cached_property
    def label(self) -> str:
        """The column with the labels."""
        if self.columns.label_column is not None:
            return plain_name(self.columns.label_column)
        return label_name(self.known) or LABEL

    @functools.cached_property
    def text(self) -> str:
        """The column with the texts."""
        return plain_name(self.columns.text_column or TEXT)

    @functools.cached_property
    def id(self) -> str:
        """The column with the ids."""
        return plain_name(self.columns.id_column or ID)

    @functools.cached_property
    def kept(self) -> list[str]:
        """The columns that are carried to the output."""
        return list(map(plain_name, self.columns.kept))

    @property
    def have_content(self) -> bool:
        """Whether they may say what an example is."""
        return self.uri in self.known or self.text in self.known

    def in_words(self) -> str:
        """The columns that a manifest may have, and which of them it must."""
        paths = plain_name(self.columns.image_column or URI)
        known = ", ".join((paths, self.text, LABEL, self.id, SPLIT, GROUP, START, END))
        return f"{known} (only {paths} or {self.text} is needed)"

    def named(self) -> Iterator[tuple[str, str]]:
        """The options that name columns which must be there, with the columns."""
        for option in ("label_column", "id_column"):
            if (name := getattr(self.columns, option)) is not None:
                yield option, plain_name(name)
        yield from (("keep_columns", name) for name in self.kept)

    def notes(self) -> list[str]:
        """Which columns are taken for what, where that is not plain."""
        notes = []
        if self.columns.image_column is None and self.uri != URI and self.uri in self.known:
            notes.append(f"the column {self.uri!r} is taken as the paths")
        if self.columns.label_column is None and LABEL not in self.known:
            found = ", ".join(repr(name) for name in LABEL_NAMES if name in self.known)
            if self.label != LABEL:
                notes.append(f"the column {self.label!r} is taken as the label")
            elif found:
                notes.append(f"none of the columns {found} is taken as the label; name it with --label_column")
        return notes
