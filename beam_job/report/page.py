"""One HTML page of a dataset: what is in it, how it was made, and what is worth a second look. No network needed.

Labels, ids and messages are anybody's text. The template escapes them, the page's data are JSON in which no tag can
begin, and its policy lets no script run but its own.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from beam_job.core import naming
from beam_job.core.errors import BeamJobError, UsageError
from beam_job.core.records import ImageRef
from beam_job.dataset.reading import FeatureTable, read_labels, read_run, read_table
from beam_job.extract.extractor import read_image
from beam_job.heads.training import METRICS
from beam_job.inputs.base import all_refs, open_source
from beam_job.report.health import DUPLICATE_COSINE, FeatureHealth, examine, flat_maps
from beam_job.runtime import storage

DEFAULT_SAMPLE = 2000
_EXAMPLES = 12
_CLASSES_SHOWN = 60
_ERRORS_SHOWN = 5
_THUMBNAIL = (72, 72)


@dataclasses.dataclass(frozen=True)
class ReportResult:
    """Where a report is, and what it is about.

    Attributes:
      report: The page.
      sampled: Images whose features were looked at.
      records: Images with features in the dataset.
      health: What was found among the sampled ones.
    """

    report: str
    sampled: int
    records: int
    health: FeatureHealth | None


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Features that were looked at, with the split of each."""

    table: FeatureTable
    splits: list[str]
    places: Any


def write_report(
    path: str, report: str | None = None, head: str | None = None, sample: int = DEFAULT_SAMPLE
) -> ReportResult:
    """Writes the page of a dataset.

    Args:
      path: The directory that ``extract`` wrote.
      report: Where the page goes; by default beside the dataset, as ``OUT-report.html``.
      head: The directory of a head that was trained on it; by default ``OUT-head``, if it is there.
      sample: Images whose features are looked at, at most.

    Raises:
      InputError: there is no finished dataset at the path.
      UsageError: what draws the page is not installed.
    """
    try:
        import sklearn  # noqa: F401
        from jinja2 import Environment, PackageLoader
    except ImportError:
        raise UsageError("report needs Jinja and scikit-learn: pip install 'beam_job[report]'.") from None
    base = path.rstrip("/")
    report = report or f"{base}-report.html"
    run, names = read_run(path), read_labels(path)
    field = next(iter(run["model"]["outputs"]))
    chosen = _sample(path, run, field, sample)
    health = None
    if len(chosen.table.ids) > 2:
        health = examine(chosen.table.features, chosen.table.labels, chosen.places)
    thumbnails = _thumbnails(run, chosen.table.ids)
    environment = Environment(loader=PackageLoader("beam_job.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script = environment.get_template("report.js").render()
    page = environment.get_template("report.html").render(
        path=base.rpartition("/")[2],
        run=run,
        classes=_classes(run),
        errors=_errors(path, run),
        stages={name: seconds for name, seconds in run["timings"]["stages"].items() if name != "wall"},
        feature=field,
        sampled=len(chosen.table.ids),
        health=health,
        duplicate_cosine=DUPLICATE_COSINE,
        findings=_findings(health, chosen, names, thumbnails) if health else [],
        points=_data(chosen, names, thumbnails) if health else None,
        without_thumbnails=sum(image_id not in thumbnails for image_id in chosen.table.ids),
        head=_head(head or f"{base}-head", required=head is not None),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    storage.write_bytes(storage.absolute(report), page.encode("utf-8", "replace"))
    records = sum(split["records"] for split in run["splits"].values())
    return ReportResult(report, len(chosen.table.ids), records, health)


def _sample(path: str, run: dict[str, Any], field: str, count: int) -> _Sample:
    """The same share of every split, by a stable hash of the ids."""
    records = sum(split["records"] for split in run["splits"].values())
    share = min(1.0, count / max(1, records))
    name = field.partition("/")[2] or field
    tables = {split: read_table(path, split, name, share) for split in run["splits"]}
    table = FeatureTable(
        [image_id for found in tables.values() for image_id in found.ids],
        np.concatenate([found.features for found in tables.values()]),
        np.concatenate([found.labels for found in tables.values()]),
    )
    splits = [split for split, found in tables.items() for _ in found.ids]
    return _Sample(table, splits, np.array([list(tables).index(split) for split in splits]))


def _classes(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The most frequent classes, with their images in each split."""
    totals: collections.Counter[str] = collections.Counter()
    for split in run["splits"].values():
        totals.update(split["classes"])
    largest = max(totals.values(), default=1)
    return [
        {
            "name": name,
            "total": total,
            "share": total / largest,
            "splits": {split: content["classes"].get(name, 0) for split, content in run["splits"].items()},
        }
        for name, total in totals.most_common(_CLASSES_SHOWN)
    ]


def _errors(path: str, run: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """A few error rows of each class of error."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in run["errors"]}
    if found:
        rows = storage.read_bytes(storage.join(storage.absolute(path), naming.ERRORS)).splitlines()
        for row in map(json.loads, rows):
            if len(found.setdefault(row["error"], [])) < _ERRORS_SHOWN:
                found[row["error"]].append(row)
    return found


def _thumbnails(run: dict[str, Any], ids: Sequence[str]) -> dict[str, str]:
    """Image id to a small JPEG as a data URL, for those that can still be read where they came from."""
    wanted, found = set(ids), {}
    try:
        refs: Iterable[ImageRef] = all_refs(open_source(run["options"]["input"]))
        for ref in itertools.islice((ref for ref in refs if ref.id in wanted), len(wanted)):
            if small := _thumbnail(ref):
                found[ref.id] = small
    except (BeamJobError, OSError):
        return found  # the input is not there any more
    return found


def _thumbnail(ref: ImageRef) -> str | None:
    try:
        with Image.open(io.BytesIO(read_image(ref))) as picture:
            picture.draft("RGB", _THUMBNAIL)
            small = picture.convert("RGB")
    except Exception:  # a picture that has changed since, or that only the job can read
        return None
    small.thumbnail(_THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _findings(
    health: FeatureHealth, sample: _Sample, names: list[str], thumbnails: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What is worth a look, each with how much there is of it and a few examples."""

    def image(row: int) -> dict[str, Any]:
        image_id = sample.table.ids[row]
        label = _name(names, int(sample.table.labels[row]))
        return {"id": image_id, "label": label, "split": sample.splits[row], "thumbnail": thumbnails.get(image_id)}

    def pairs(found: list[tuple[int, int, float]]) -> list[dict[str, Any]]:
        return [
            {"images": [image(one), image(two)], "words": f"cosine {cosine:.4f}"}
            for one, two, cosine in found[:_EXAMPLES]
        ]

    return [
        {
            "title": "the same picture in two splits",
            "count": len(health.leaks),
            "why": "a head that has seen a picture in training is tested on it",
            "examples": pairs(health.leaks),
        },
        {
            "title": "labels to doubt",
            "count": len(health.doubted),
            "why": "the nearest features have another label",
            "examples": [
                {"images": [image(row)], "words": f"neighbours say {_name(names, other)}"}
                for row, other in health.doubted[:_EXAMPLES]
            ],
        },
        {
            "title": "near-duplicates",
            "count": len(health.duplicates),
            "why": f"pairs of a cosine of {DUPLICATE_COSINE} and more",
            "examples": pairs(health.duplicates),
        },
        {
            "title": "outliers",
            "count": len(health.outliers),
            "why": "far from everything, by three standard deviations of the mean cosine to the nearest five",
            "examples": [
                {"images": [image(row)], "words": f"mean cosine {cosine:.3f}"}
                for row, cosine in health.outliers[:_EXAMPLES]
            ],
        },
    ]


def _data(sample: _Sample, names: list[str], thumbnails: Mapping[str, str]) -> str:
    """The points of the map as JSON that may stand within a script element."""
    maps = flat_maps(sample.table.features)
    content = {
        "maps": {name: np.round(points, 4).tolist() for name, points in maps.items()},
        "names": names,
        "labels": sample.table.labels.tolist(),
        "splits": sample.splits,
        "ids": list(sample.table.ids),
        "thumbnails": [thumbnails.get(image_id) for image_id in sample.table.ids],
    }
    return json.dumps(content).replace("<", "\\u003c").replace("&", "\\u0026")


def _head(path: str, required: bool) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(storage.read_bytes(storage.join(storage.absolute(path), METRICS)))
    except OSError:
        if required:
            raise UsageError(f"There is no head at --head={path}.") from None
        return None
    return found


def _name(names: list[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else "(none)"
