"""Which columns of a manifest are what: as they are usually called, or as the user says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from beam_job.inputs.base import Columns
from beam_job.inputs.tables import Row, plain_name

URI, TEXT, LABEL, ID, SPLIT, GROUP = "uri", "text", "label", "id", "split", "group"
START, END = "start", "end"
# What a column of paths is called when it is not called uri; the first is Hugging Face's name.
URI_SYNONYMS = ("file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image", "url")
# Likewise, a column of labels.
_LABEL_SYNONYMS = ("labels", "class", "classes", "class_name", "category", "target")


@dataclasses.dataclass(frozen=True)
class ManifestColumns:
    """The columns of a manifest; names of columns are in lower case here.

    Attributes:
      columns: What the user calls them.
    """

    columns: Columns

    @property
    def text(self) -> str:
        """The column with the texts."""
        return plain_name(self.columns.text_column or TEXT)

    @property
    def id(self) -> str:
        """The column with the ids."""
        return plain_name(self.columns.id_column or ID)

    @property
    def kept(self) -> list[str]:
        """The columns that are carried to the output."""
        return list(map(plain_name, self.columns.kept))

    def uri(self, row: Row) -> str:
        """The column with the paths, in a row."""
        return _chosen(self.columns.image_column, row, URI, URI_SYNONYMS)

    def label(self, row: Row) -> str:
        """The column with the labels, in a row."""
        return _chosen(self.columns.label_column, row, LABEL, _LABEL_SYNONYMS)

    def needed(self) -> list[str]:
        """The columns of which one is there in every manifest."""
        named = self.columns.image_column
        return [self.text, *([plain_name(named)] if named is not None else (URI, *URI_SYNONYMS))]

    def has_content(self, row: Row) -> bool:
        """Whether a row may say what the example is."""
        return self.uri(row) in row or self.text in row

    def in_words(self) -> str:
        """The columns that a manifest may have, and which of them it must."""
        paths = plain_name(self.columns.image_column or URI)
        known = ", ".join((paths, self.text, LABEL, self.id, SPLIT, GROUP, START, END))
        return f"{known} (only {paths} or {self.text} is needed)"

    def read(self) -> set[str]:
        """The columns that are read."""
        label = plain_name(self.columns.label_column or LABEL)
        return {*self.needed(), label, *_LABEL_SYNONYMS, self.id, SPLIT, GROUP, START, END, *self.kept}

    def named(self) -> Iterator[tuple[str, str]]:
        """The options that name columns which must be there, with the columns."""
        for option in ("label_column", "id_column"):
            if (name := getattr(self.columns, option)) is not None:
                yield option, plain_name(name)
        yield from (("keep_columns", name) for name in self.kept)

    def notes(self, row: Row) -> list[str]:
        """Which columns are taken for what, where that is not plain."""
        notes = []
        if self.columns.image_column is None and (paths := self.uri(row)) in row and paths != URI:
            notes.append(f"the column {paths!r} is taken as the paths")
        found = _called_alike(row, LABEL, _LABEL_SYNONYMS) if self.columns.label_column is None else []
        if len(found) == 1:
            notes.append(f"the column {found[0]!r} is taken as the label")
        elif found:
            names = ", ".join(map(repr, found))
            notes.append(f"none of the columns {names} is taken as the label; name it with --label_column")
        return notes


def _chosen(named: str | None, row: Row, usual: str, synonyms: Sequence[str]) -> str:
    """The column that is named, or called as usual, or the only one that is called alike."""
    if named is not None:
        return plain_name(named)
    found = _called_alike(row, usual, synonyms)
    return found[0] if found and (len(found) == 1 or found[0] == URI_SYNONYMS[0]) else usual


def _called_alike(row: Row, usual: str, synonyms: Sequence[str]) -> list[str]:
    """The columns that may be meant in a row without the usual one."""
    return [] if usual in row else [name for name in synonyms if name in row]
