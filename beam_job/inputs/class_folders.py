"""A directory with a folder per class: the first folder below the root is the label."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator

from beam_job.core.records import ImageRef
from beam_job.inputs.base import readable_id
from beam_job.runtime import storage

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))

# The units of a listing: the files right in the root, the whole tree at once, or a folder by its name and this prefix.
_ROOT_FILES = "files"
_WHOLE_TREE = "tree"
_FOLDER = "folder:"


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """Images at ``ROOT/CLASS/.../NAME``, known by their suffix; those right in the root have no label.

    Hidden files and files with other suffixes are not images and are passed over.
    """

    root: str
    ids_unique = True

    def check(self) -> None:
        """A directory that exists is all that a launch can check; the listing happens in the workers."""

    def units(self) -> Iterator[str]:
        folders = storage.list_folders(self.root)
        if folders is None:
            yield _WHOLE_TREE
            return
        yield _ROOT_FILES
        yield from (_FOLDER + name for name in sorted(folders))

    def refs(self, unit: str) -> Iterator[ImageRef]:
        folder = storage.join(self.root, unit.removeprefix(_FOLDER)) if unit.startswith(_FOLDER) else self.root
        for info in storage.list_files(folder, recursive=unit != _ROOT_FILES):
            path = storage.relative(info.path, self.root)
            if not is_image(path):
                continue
            label, _, rest = readable_id(path).partition("/")
            yield ImageRef(readable_id(path), info.path, label=label if rest else None, version=info.version)


def is_image(path: str) -> bool:
    """Whether a path within a tree is that of an image: by its suffix, nothing on the way hidden."""
    hidden = any(part.startswith(".") for part in path.split("/"))
    return not hidden and posixpath.splitext(path)[1].lower() in IMAGE_SUFFIXES
