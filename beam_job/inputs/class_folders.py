"""A directory with a folder per class: the first folder below the root is the label."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Collection, Iterator
from typing import ClassVar

from beam_job.core.records import ExampleRef
from beam_job.inputs.base import Source, readable_id
from beam_job.inputs.globs import is_glob
from beam_job.runtime import storage

# The units of a listing: the files directly in the root, the whole tree, or a folder with this prefix and its name.
_ROOT_FILES = "files"
_WHOLE_TREE = "tree"
_FOLDER = "folder:"


@dataclasses.dataclass(frozen=True)
class ClassFolders(Source):
    """Files at ``ROOT/CLASS/.../NAME``, recognised by their suffix; those directly in the root have no label.

    Hidden files and files with other suffixes are not examples and are passed over.
    """

    root: str
    ids_unique: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return not is_glob(path) and storage.is_directory(path)

    def units(self) -> Iterator[str]:
        folders = storage.list_folders(self.root)
        if folders is None:
            yield _WHOLE_TREE
            return
        yield _ROOT_FILES
        yield from (_FOLDER + name for name in sorted(folders))

    def refs(self, unit: str, suffixes: Collection[str]) -> Iterator[ExampleRef]:
        folder = storage.join(self.root, unit.removeprefix(_FOLDER)) if unit.startswith(_FOLDER) else self.root
        for info in storage.list_files(folder, recursive=unit != _ROOT_FILES):
            path = storage.relative(info.path, self.root)
            if not is_example(path, suffixes):
                continue
            label, _, rest = readable_id(path).partition("/")
            yield ExampleRef(readable_id(path), info.path, label=label if rest else None, version=info.version)


def is_example(path: str, suffixes: Collection[str]) -> bool:
    """Whether a path within a tree is that of an example: by its suffix, and nothing on the way to it is hidden."""
    hidden = any(part.startswith(".") for part in path.split("/"))
    return not hidden and posixpath.splitext(path)[1].lower() in suffixes
