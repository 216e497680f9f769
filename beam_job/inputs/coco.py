"""COCO's annotations (cocodataset.org/#format-data): which classes of objects each image shows."""

from __future__ import annotations

import functools
import json
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from beam_job.core.errors import InputError
from beam_job.inputs.tables import BadRow, Row, Span
from beam_job.runtime import storage
from beam_job.runtime.storage import FileInfo

# What is large in an annotation and of no use here.
_LEFT_OUT = ("segmentation", "keypoints")


class Coco(NamedTuple):
    """What is read of a file of annotations.

    Attributes:
      images: The descriptions of the images, each with an ``id`` and a ``file_name``.
      names: The names of the categories, in the order of their ids.
      shown: Id of an image to the names of the categories that it shows.
    """

    images: Sequence[Any]
    names: Sequence[str]
    shown: dict[Any, list[str]]


@functools.lru_cache(maxsize=1)
def read_coco(info: FileInfo) -> Coco:
    """The annotations in a file, read once in a process.

    Raises:
      InputError: they are no annotations of COCO.
      OSError: the file cannot be read.
    """
    try:
        content = json.loads(storage.read_bytes(info.path), object_hook=_slim)
        categories = {
            category["id"]: str(category["name"])
            for category in sorted(content["categories"], key=lambda category: category["id"])
        }
        shown: defaultdict[Any, list[str]] = defaultdict(list)
        for annotation in content["annotations"]:
            shown[annotation["image_id"]].append(categories[annotation["category_id"]])
        images = content["images"]
        return Coco(images, list(categories.values()), {key: sorted(set(names)) for key, names in shown.items()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"Expected the annotations of COCO in {info.path!r}: an object with images, annotations and categories, "
            f"found something else ({type(error).__name__}: {error})."
        ) from None


def _slim(value: dict[str, Any]) -> dict[str, Any]:
    for name in _LEFT_OUT:
        value.pop(name, None)
    return value


def coco_rows(info: FileInfo) -> Iterator[tuple[int, Row | BadRow, Span]]:
    """Number and row of the images; the label is the list of the categories that an image shows.

    The id of an image there is its ``image_id`` here: it is unique in one file, and file names are in all splits.
    """
    found = read_coco(info)
    for number, image in enumerate(found.images, 1):
        if not isinstance(image, dict):
            yield number, BadRow(f"expected the description of an image, found {image!r:.100}"), None
            continue
        described = {"image_id" if name == "id" else name: value for name, value in image.items()}
        shown = found.shown.get(image.get("id"), [])
        yield number, {**described, "uri": image.get("file_name"), "label": shown}, None


def images_root(info: FileInfo) -> str:
    """The directory that the names of the files are relative to: the first of the usual ones that has the first file.

    That is the directory of the annotations, or ``images`` in it, or beside it ``images`` or the folder whose name the
    annotations' ends with, as ``val2017`` of ``annotations/instances_val2017.json``.
    """
    here = storage.parent(info.path)
    name = next((image.get("file_name") for image in read_coco(info).images if isinstance(image, dict)), None)
    stem = posixpath.splitext(posixpath.basename(info.path))[0].rpartition("_")[2]
    above = storage.parent(here)
    candidates = (here, storage.join(here, "images"), storage.join(above, stem), storage.join(above, "images"))
    if isinstance(name, str):
        for root in candidates:
            if storage.exists(storage.join(root, name)):
                return root
    return here
