"""Labels that are folders of a container: the class is the first folder below those that all examples share."""

from __future__ import annotations

from collections.abc import Iterable

from beam_job.core.records import CLASS_FOLDER_LABEL, FOLDER_LABEL


def shared_folders(labels: Iterable[str]) -> tuple[str, ...]:
    """The folders that are above all classes, of labels that are folders of a container.

    >>> shared_folders([f"{FOLDER_LABEL}photos/cat", f"{FOLDER_LABEL}photos/dog/small", "7"])
    ('photos',)
    """
    of_folders = (label for label in labels if label.startswith(FOLDER_LABEL))
    paths = [folders_in(label) for label in of_folders if not label.startswith(CLASS_FOLDER_LABEL)]
    shared: list[str] = []
    for level in zip(*(path[:-1] for path in paths), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return tuple(shared)


def folders_in(label: str) -> list[str]:
    """The folders in a label of a container; the class alone where it is known.

    >>> folders_in(f"{FOLDER_LABEL}photos/cat"), folders_in(f"{CLASS_FOLDER_LABEL}cat"), folders_in("7/8")
    (['photos', 'cat'], ['cat'], ['7/8'])
    """
    if label.startswith(CLASS_FOLDER_LABEL):
        return [label.removeprefix(CLASS_FOLDER_LABEL)]
    return label.removeprefix(FOLDER_LABEL).split("/") if label.startswith(FOLDER_LABEL) else [label]


def name_below(label: str, shared: int) -> str:
    """The class that a label of a container stands for, below so many shared folders."""
    folders = folders_in(label)
    return folders[shared] if len(folders) > 1 else folders[0]
