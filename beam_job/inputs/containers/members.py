"""What the name of a member of a container tells: whether it is one of the user's, its split and its label."""

from __future__ import annotations

import posixpath
import re

from beam_job.core.records import CLASS_FOLDER_LABEL, FOLDER_LABEL
from beam_job.core.sharding import SPLIT_NAMES
from beam_job.inputs.base import is_junk, readable_id

# As WebDataset has names of what is no example.
_DUNDER = re.compile(r"__[^/]*__(\..*)?")


def member_id(container: str, member: str) -> str:
    """The id of a member: the container's name and its own."""
    return readable_id(f"{container}/{member}")


def plain_name(name: str) -> str:
    """A member's name without what does not matter: ``./a.jpg`` is ``a.jpg``."""
    return posixpath.normpath(name).lstrip("/")


def leads_out(name: str) -> bool:
    """Whether a member's name names a place outside of its container."""
    return ".." in name.replace("\\", "/").split("/")


def is_ignored(name: str) -> bool:
    """Whether a member is hidden, left behind by a system, or, as WebDataset has it, called like ``__this__``."""
    parts = plain_name(name).split("/")
    return any(map(is_junk, parts)) or bool(_DUNDER.fullmatch(parts[-1]))


def split_and_folders(folders: list[str]) -> tuple[str | None, list[str]]:
    """The split that a member's folders tell, and the folders below it; a split has classes below it."""
    for depth, folder in enumerate(folders[:2]):
        if folder.lower() in SPLIT_NAMES and len(folders) > depth + 1:
            return folder.lower(), folders[depth + 1 :]
    return None, folders


def folder_label(folders: list[str], split: str | None, container: str) -> str | None:
    """The label of an example in folders: the first one, as soon as it is known which folders all examples share."""
    if not folders:
        return None
    if split is not None:
        return CLASS_FOLDER_LABEL + readable_id(folders[0])
    stem = posixpath.basename(container).partition(".")[0]
    if folders[0] == stem and len(folders) > 1:
        folders = folders[1:]
    return FOLDER_LABEL + readable_id("/".join(folders))
