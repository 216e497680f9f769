"""What a source is, and which one an input asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from beam_job.core.errors import InputError
from beam_job.core.records import ImageRef
from beam_job.runtime import storage
from beam_job.runtime.registry import Entry, Registry

GLOB_CHARACTERS = re.compile(r"[*?\[]")


class Source(Protocol):
    """An input. Instances are small and travel to the workers, where the listing happens.

    Attributes:
      ids_unique: Whether two refs cannot have the same id, by the way ids are made.
    """

    ids_unique: bool

    def check(self) -> None:
        """Looks at the input as far as a launch can afford.

        Raises:
          InputError: it cannot be right.
        """

    def units(self) -> Iterator[str]:
        """Cuts the input into parts that may be listed in parallel."""

    def refs(self, unit: str) -> Iterator[ImageRef]:
        """Lists one part. An entry that cannot be used comes as a ref with its problem."""


def all_refs(source: Source) -> Iterator[ImageRef]:
    """Everything in a source, part by part, as it is asked for."""
    return (ref for unit in source.units() for ref in source.refs(unit))


class SourceType(Protocol):
    """How a source is made from ``--input``."""

    def __call__(self, path: str) -> Source: ...


SOURCES: Registry[SourceType] = Registry(
    "source",
    {
        "class_folders": Entry("beam_job.inputs.class_folders:ClassFolders"),
        "glob": Entry("beam_job.inputs.globs:Glob"),
        "manifest": Entry("beam_job.inputs.manifests:Manifest"),
    },
)


def open_source(path: str) -> Source:
    """The source that an input's form asks for: a manifest by its suffix, a glob, or a directory.

    Raises:
      InputError: there is nothing at the path.
    """
    path = storage.absolute(path)
    if path.lower().endswith((".csv", ".jsonl")):
        kind = "manifest"
    elif GLOB_CHARACTERS.search(path) and not (storage.is_local(path) and storage.is_directory(path)):
        kind = "glob"  # a local directory may have such characters in its name; in a bucket they are wildcards
    elif storage.is_directory(path):
        kind = "class_folders"
    elif storage.exists(path):
        kind = "glob"
    else:
        raise InputError(
            f"Expected --input to be a directory with a folder per class, a glob, or a .csv or .jsonl manifest; "
            f"there is nothing at {path!r}."
        )
    return SOURCES.get(kind)(path)


def readable_id(path: str) -> str:
    r"""An id that is valid Unicode: bytes of a name that are not UTF-8 become ``\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
