"""The import files of Vertex AI: CSV files without a header, and JSONL files with a structure of their own.

The formats are those of cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data and its sibling for
texts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from beam_job.inputs.tables import BadRow, Row, Span, csv_cells

# What Vertex AI calls the splits, and what they are called otherwise; UNASSIGNED is none.
_ML_USES = {
    "train": "train",
    "training": "train",
    "validate": "validation",
    "validation": "validation",
    "test": "test",
    "unassigned": None,
}
_ML_USE = "aiplatform.googleapis.com/ml_use"
_NUMBERS_OF_A_BOX = 4
_URIS, _TEXT = ("imagegcsuri", "textgcsuri", "audiogcsuri"), "textcontent"
_ONE, _MANY, _NAME = "classificationannotation", "classificationannotations", "displayName"


def is_csv(first_line: str) -> bool:
    """Whether a CSV begins with an example rather than with the names of its columns."""
    try:
        cells = [cell.strip() for cell in next(csv.reader([first_line], strict=True), [])]
    except csv.Error:
        return False
    if cells and cells[0].lower() in ("", *_ML_USES):
        cells = cells[1:]
    return bool(cells) and cells[0].startswith("gs://")


def csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, Row | BadRow, Span]]:
    """Line number and row of the rows ``[ML_USE,]URI[,LABEL...]``; several labels are a list."""
    for number, cells in csv_cells(lines):
        if isinstance(cells, BadRow):
            yield number, cells, None
            continue
        if not any(cells):
            continue
        split = None
        if cells[0].lower() in ("", *_ML_USES):
            split, cells = _ML_USES.get(cells[0].lower()), cells[1:]
        labels = [cell for cell in cells[1:] if cell]
        if sum(map(_is_number, labels)) >= _NUMBERS_OF_A_BOX:
            yield number, BadRow("expected labels, found a box; rows of object detection are not read"), None
            continue
        label = labels if len(labels) > 1 else next(iter(labels), None)
        yield number, {"uri": next(iter(cells), None), "label": label, "split": split}, None


def plain_row(row: Row) -> Row:
    """A row of a JSONL file with the names of a manifest, if it is one of Vertex AI; otherwise the row itself.

    Args:
      row: Its names in lower case.
    """
    uri = next((row[name] for name in _URIS if name in row), None)
    text = row.get(_TEXT)
    if uri is None and text is None:
        return row
    resources = row.get("dataitemresourcelabels")
    use = str(resources.get(_ML_USE, "")).lower() if isinstance(resources, Mapping) else ""
    many = row.get(_MANY)
    label: Any = _display_name(row.get(_ONE))
    if many is not None:
        label = list(map(_display_name, many)) if isinstance(many, list) else {_MANY: many}
    content = {"uri": uri} if text is None else {"text": text}
    return {**content, "label": label, "split": _ML_USES.get(use, use or None)}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _display_name(annotation: Any) -> Any:
    """The name in an annotation; the annotation itself, which is no label, if it has none."""
    return annotation.get(_NAME, annotation) if isinstance(annotation, Mapping) else annotation and {_ONE: annotation}
