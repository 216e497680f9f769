"""A text file with an example per line, for models of texts."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator
from typing import ClassVar

from beam_job.core.errors import InputError
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.inputs.base import ExampleFiles, Listing, readable_id
from beam_job.inputs.globs import is_glob
from beam_job.inputs.tables import Lines
from beam_job.inputs.texts import find_text, text_ref
from beam_job.runtime import storage


@dataclasses.dataclass(frozen=True)
class TextLines(Listing):
    """A text per line; its id is the file's name and the number of the line, from 1. An empty line counts too."""

    path: str
    ids_unique: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return (
            storage.without_query(path).lower().endswith(".txt")
            and not is_glob(path)
            and not storage.is_directory(path)
        )

    def check(self) -> list[str]:
        if not storage.exists(self.path):
            raise InputError(f"There is no file at {self.path!r}.")
        return []

    def units(self) -> Iterator[str]:
        yield self.path

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        if not files.texts:
            raise InputError(
                f"Expected a model of texts for the file {self.path!r}, which holds a text per line; found a model of "
                f"other examples. A list of files is a .csv with the column uri."
            )
        name = readable_id(posixpath.basename(storage.without_query(unit)))
        with storage.open_read(unit) as file:
            for number, line, span in Lines(file).numbered():
                yield text_ref("lines", unit, line.rstrip("\r\n"), span, id=f"{name}:{number}")

    @classmethod
    def read_member(cls, uri: str, member: str) -> bytes:
        return find_text(uri, member)
