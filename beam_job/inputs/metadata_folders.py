"""A directory with a manifest of its examples in it, as Hugging Face's imagefolder and exports of COCO have."""

from __future__ import annotations

import dataclasses
import functools
import posixpath
from collections.abc import Iterator, Sequence
from typing import ClassVar

from beam_job.core.errors import InputError
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.core.sharding import SPLIT_NAMES
from beam_job.inputs.base import PLAIN_COLUMNS, Columns, ExampleFiles, Listing
from beam_job.inputs.globs import is_glob
from beam_job.inputs.manifests import Manifest
from beam_job.runtime import storage

# The names that tell; of several in one folder, the first is read.
_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet", "_annotations.coco.json")


@dataclasses.dataclass(frozen=True)
class MetadataFolder(Listing):
    """The rows of ``metadata.csv``, ``.jsonl`` or ``.parquet``, or of ``_annotations.coco.json``, in a directory.

    It may be in the directory itself or in folders of it that are called as splits, whose rows are in that split.
    Paths are in the column ``file_name``. A file of the directory without a row is passed over.
    """

    root: str
    columns: Columns = PLAIN_COLUMNS
    ids_unique: ClassVar[bool] = False
    has_columns: ClassVar[bool] = True

    @property
    def takes(self) -> frozenset[str]:
        return next(iter(self._manifests.values())).takes - {"root"}

    @classmethod
    def matches(cls, path: str) -> bool:
        return not is_glob(path) and storage.is_directory(path) and bool(_manifests_in(path))

    @functools.cached_property
    def _manifests(self) -> dict[str, Manifest]:
        return {
            place: Manifest(
                path=storage.join(self.root, place),
                columns=self.columns,
                below=f"{folder}/" if (folder := posixpath.dirname(place)) else "",
                split=folder.lower() or None,
            )
            for place in _manifests_in(self.root)
        }

    def check(self) -> list[str]:
        names = ", ".join(self._manifests)
        others = sorted(set(_split_folders(self.root)) - {posixpath.dirname(place) for place in self._manifests})
        if others and posixpath.dirname(next(iter(self._manifests))):
            raise InputError(
                f"Expected a manifest such as {_NAMES[1]} in each folder of {self.root!r} that is called as a split, "
                f"found {names} and none in {', '.join(others)}. Give the manifest as --input, or move it away."
            )
        notes = [note for manifest in self._manifests.values() for note in manifest.check()]
        plain = "the column 'file_name' is taken as the paths"
        return [f"the examples are the rows of {names}", *(note for note in dict.fromkeys(notes) if note != plain)]

    def vocabulary(self) -> Sequence[str] | None:
        found = [manifest.vocabulary() for manifest in self._manifests.values()]
        return list(dict.fromkeys(name for names in found for name in names or ())) or None

    def units(self) -> Iterator[str]:
        yield from self._manifests

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        manifest = self._manifests[unit]
        seen: set[str] = set()
        for entry in manifest.refs(manifest.path, files):
            if isinstance(entry, ExampleRef):
                seen.add(posixpath.normpath(entry.uri) if storage.is_local(entry.uri) else entry.uri)
            yield entry
        kind = PassedOver(f"without a row in {posixpath.basename(unit)}")
        if not self.columns.crops:
            others = (info.path for info in storage.list_files(storage.parent(manifest.path)))
            yield from (kind for path in others if path not in seen and files.is_named(path))
        if posixpath.dirname(unit) and unit == next(iter(self._manifests)):
            folders = tuple(f"{storage.parent(one.path)}/" for one in self._manifests.values())
            others = (info.path for info in storage.list_files(self.root))
            yield from (kind for path in others if not path.startswith(folders) and files.is_named(path))


def _manifests_in(root: str) -> list[str]:
    """The manifests in a directory, relative to it."""
    if found := _manifest_in(root):
        return [found]
    folders = _split_folders(root)
    return [f"{folder}/{name}" for folder in folders if (name := _manifest_in(storage.join(root, folder)))]


def _split_folders(root: str) -> list[str]:
    return sorted(name for name in storage.list_folders(root) or [] if name.lower() in SPLIT_NAMES)


def _manifest_in(folder: str) -> str | None:
    paths = {name: storage.join(folder, name) for name in _NAMES}
    return next((name for name, path in paths.items() if storage.exists(path) and Manifest.matches(path)), None)
