"""Labels that are folders of a container: the class is the first folder below those that all examples share."""

from __future__ import annotations

from collections.abc import Iterable

from beam_job.core.records import FOLDER_LABEL


def shared_folders(labels: Iterable[str]) -> tuple[str, ...]:
    """The folders that are above all classes, of labels that are folders of a container.

    >>> shared_folders([f"{FOLDER_LABEL}photos/cat", f"{FOLDER_LABEL}photos/dog/small", "7"])
    ('photos',)
    """
    paths = [label.removeprefix(FOLDER_LABEL).split("/") for label in labels if label.startswith(FOLDER_LABEL)]
    shared: list[str] = []
    for level in zip(*(path[:-1] for path in paths), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return tuple(shared)


def name_below(label: str, shared: int) -> str:
    """The class that a label of a container stands for, below so many shared folders."""
    return label.removeprefix(FOLDER_LABEL).split("/")[shared] if label.startswith(FOLDER_LABEL) else label
