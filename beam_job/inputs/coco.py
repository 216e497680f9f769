"""COCO's annotations (cocodataset.org/#format-data): which classes of objects each image shows."""

from __future__ import annotations

import functools
import json
import math
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from beam_job.core.errors import InputError
from beam_job.core.records import PassedOver
from beam_job.inputs.tables import BadRow, Row, Span
from beam_job.runtime import storage
from beam_job.runtime.storage import FileInfo

_NUMBERS_OF_A_BOX = 4
# What is large in an annotation and of no use here.
_LEFT_OUT = ("segmentation", "keypoints")


class Coco(NamedTuple):
    """What is read of a file of annotations.

    Attributes:
      images: The descriptions of the images, each with an ``id`` and a ``file_name``.
      names: The names of the categories, in the order of their ids.
      annotations: Id of an image to its annotations, each with the ``name`` of its category.
    """

    images: Sequence[Any]
    names: Sequence[str]
    annotations: Mapping[Any, Sequence[Mapping[str, Any]]]


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
        annotations: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            name = categories[annotation["category_id"]]
            annotations[annotation["image_id"]].append({**annotation, "name": name})
        return Coco(list(content["images"]), list(dict.fromkeys(categories.values())), annotations)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"Expected the annotations of COCO in {info.path!r}: an object with images, annotations and categories, "
            f"found something else ({type(error).__name__}: {error})."
        ) from None


def _slim(value: dict[str, Any]) -> dict[str, Any]:
    for name in _LEFT_OUT:
        value.pop(name, None)
    return value


def coco_rows(info: FileInfo, crops: bool = False) -> Iterator[tuple[int, Row | BadRow | PassedOver, Span]]:
    """Number and row of the images; the label is the list of the categories that an image shows.

    With ``crops``, there is a row for each box instead, with ``box`` and ``annotation_id`` and one category; boxes
    around a crowd are passed over, as they are where COCO's detectors are measured.

    The id of an image there is its ``image_id`` here: it is unique in one file, and file names are in all splits.
    """
    found, number = read_coco(info), 0
    known = {_key(image) for image in found.images}
    for key, of_image in found.annotations.items():
        if key not in known:
            yield from ((0, PassedOver("annotations of no image"), None) for _ in of_image)
    for image in found.images:
        number += 1
        if _key(image) is None:
            yield number, BadRow(f"expected the description of an image with an id, found {image!r:.100}"), None
            continue
        described = {"image_id" if name == "id" else name: value for name, value in image.items()}
        described |= {"uri": image.get("file_name")}
        of_image = found.annotations.get(image.get("id"), ())
        if crops:
            for box, annotation in enumerate(of_image, number):
                yield box, _box_row(annotation, described), None
            number += len(of_image)
        else:
            names = {str(annotation["name"]) for annotation in of_image}
            yield number, {**described, "label": sorted(names)}, None


def _key(image: Any) -> int | str | None:
    """The id of an image, or None for what describes none."""
    key = image.get("id") if isinstance(image, dict) else None
    return key if isinstance(key, (int, str)) else None


def _box_row(annotation: Mapping[str, Any], image: Row) -> Row | BadRow | PassedOver:
    if annotation.get("iscrowd"):
        return PassedOver("boxes around a crowd")
    box = annotation.get("bbox")
    if not (
        isinstance(box, list)
        and len(box) == _NUMBERS_OF_A_BOX
        and all(isinstance(value, (int, float)) and math.isfinite(value) for value in box)
    ):
        return BadRow(
            f"expected a box of x, y, width and height in the annotation {annotation.get('id')}, found {box!r:.100}"
        )
    place = {"box": tuple(map(float, box)), "annotation_id": annotation.get("id")}
    return {**image, **place, "label": annotation["name"], "group": image["uri"]}


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
