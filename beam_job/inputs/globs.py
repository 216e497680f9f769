"""A glob: every file that matches, whatever its suffix, without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from beam_job.core.errors import InputError
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.inputs.base import INPUTS_IN_WORDS, ExampleFiles, Listing, readable_id
from beam_job.runtime import storage

# Files that hold or list examples in a form that is not read, by the end of their names.
_NOT_READ = (
    *(".tsv", ".txt", ".json", ".ndjson", ".yaml", ".yml", ".xml", ".xls", ".xlsx", ".csv.gz", ".jsonl.gz"),
    *(".arrow", ".feather", ".tfrecord", ".tfrecords", ".npy", ".npz", ".h5", ".hdf5", ".pkl", ".lmdb"),
    *(".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
)


@dataclasses.dataclass(frozen=True)
class Glob(Listing):
    """The files that ``pattern`` matches; ids are relative to the last directory before the first wildcard."""

    pattern: str
    ids_unique: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return is_glob(path) or storage.exists(path)

    def check(self) -> list[str]:
        if self.pattern.lower().endswith(_NOT_READ) and not is_glob(self.pattern):
            raise InputError(f"Expected --input to be {INPUTS_IN_WORDS}; found the file {self.pattern!r}.")
        return []

    def units(self) -> Iterator[str]:
        yield self.pattern

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        root = storage.fixed_parent(unit)
        for info in storage.match(unit):
            yield ExampleRef(readable_id(storage.relative(info.path, root)), info.path, version=info.version)


def is_glob(path: str) -> bool:
    """Whether a path has wildcards; the name of a local directory may contain such characters, that of a bucket not."""
    return storage.has_wildcards(path) and not (storage.is_local(path) and storage.is_directory(path))
