"""A directory with a folder per class, below a folder per split where there is one."""

from __future__ import annotations

import dataclasses
import functools
import posixpath
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from beam_job.core.records import ExampleRef, PassedOver
from beam_job.core.sharding import SPLIT_NAMES
from beam_job.inputs.base import ExampleFiles, Listing, is_junk, readable_id
from beam_job.inputs.globs import is_glob
from beam_job.runtime import storage

# The units of a listing: the files directly in a folder, or everything below it.
_FILES, _TREE = "files:", "tree:"
_DEEPEST = 4


class Levels(NamedTuple):
    """What the folders of an input are.

    Attributes:
      above: The folder, relative to the root, that holds the splits or classes; empty for the root itself.
      splits: The names of the folders that are splits; none when the folders are classes.
    """

    above: str
    splits: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ClassFolders(Listing):
    """Files at ``ROOT/CLASS/.../NAME`` or ``ROOT/SPLIT/CLASS/.../NAME``; those above the classes have no label.

    The folders are splits when all of them are called as splits are. A single folder that holds several is passed
    through. Hidden files, and files and folders that systems leave behind, are ignored.
    """

    root: str
    ids_unique: ClassVar[bool] = True
    labels_are_folders: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return not is_glob(path) and storage.is_directory(path)

    def check(self) -> list[str]:
        above, splits = self.levels  # decided once, at the launch, and then part of what the workers get
        found = []
        if splits:
            names = ", ".join(map(readable_id, splits))
            found.append(f"the folders {names} are taken as splits, and the folders below them as the labels")
        elif above:
            found.append(f"the labels are the folders below {readable_id(above)}, which is alone in the input")
        return found

    @functools.cached_property
    def levels(self) -> Levels:
        """What the folders are, from their names."""
        folder = ""
        for _ in range(_DEEPEST):
            names = self._folders(folder)
            if names and all(name.lower() in SPLIT_NAMES for name in names):
                return Levels(folder, tuple(names))
            if len(names) > 1:
                return Levels(folder, ())
            if not names:
                break
            folder = posixpath.join(folder, names[0])
        return Levels("", ())

    def _folders(self, folder: str) -> list[str]:
        """The names of the folders directly in a folder, sorted, without those that are ignored."""
        root = storage.join(self.root, folder) if folder else self.root
        names = storage.list_folders(root)
        if names is None:
            paths = (storage.relative(info.path, root) for info in storage.list_files(root))
            names = list({path.partition("/")[0] for path in paths if "/" in path})
        return sorted(name for name in names if not is_junk(name))

    def units(self) -> Iterator[str]:
        above, splits = self.levels
        folders = [above]
        while folders[0]:  # the folders on the way, each with files of its own
            folders.insert(0, posixpath.dirname(folders[0]))
        folders += [posixpath.join(above, split) for split in splits]
        yield from (_FILES + folder for folder in folders)
        for holder in [posixpath.join(above, split) for split in splits] or [above]:
            yield from (_TREE + posixpath.join(holder, name) for name in self._folders(holder))

    def refs(self, unit: str, files: ExampleFiles) -> Iterator[ExampleRef | PassedOver]:
        recursive = unit.startswith(_TREE)
        folder = unit.removeprefix(_TREE if recursive else _FILES)
        root = storage.join(self.root, folder) if folder else self.root
        for info in storage.list_files(root, recursive=recursive):
            path = storage.relative(info.path, self.root)
            if not any(map(is_junk, path.split("/"))):
                yield files.passed_over(info.path) or self._ref(path, info)

    def _ref(self, path: str, info: storage.FileInfo) -> ExampleRef:
        above, splits = self.levels
        rest, split = storage.relative(path, above) if above else path, None
        if splits and "/" in rest:
            folder, _, rest = rest.partition("/")
            split = folder.lower()
        label, _, below = readable_id(rest).partition("/")
        return ExampleRef(
            readable_id(path), info.path, label=label if below else None, split=split, version=info.version
        )
