"""The report: one HTML page about a dataset, its features and its head. It needs no network.

Labels, ids and messages are arbitrary text. The template escapes them, the page's data are JSON that cannot contain a
tag, and its content security policy allows no script but its own.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_job.core import naming
from beam_job.core.errors import ExampleError, UsageError
from beam_job.core.labels import NO_LABEL, LabelKind
from beam_job.core.options import ReportOptions
from beam_job.dataset.originals import originals
from beam_job.dataset.reading import Dataset, FeatureTable
from beam_job.heads.training import METRICS
from beam_job.modalities.base import Preview
from beam_job.modalities.registry import MODALITIES
from beam_job.reporting.colours import Colours, colours_of
from beam_job.reporting.health import DUPLICATE_COSINE, FeatureHealth, examine, flat_maps
from beam_job.runtime import storage
from beam_job.runtime.threadmap import map_in_order

_EXAMPLES_SHOWN = 12
_CLASSES_IN_MATRIX = 30
_READS_IN_FLIGHT = 16
_CLASSES_SHOWN = 60
_ERRORS_SHOWN = 5
_MIN_ROWS = 3


@dataclasses.dataclass(frozen=True)
class ReportResult:
    """Where a report is, and what it is about.

    Attributes:
      report: The page.
      sampled: Number of examples whose features were analysed.
      records: Number of examples with features in the dataset.
      health: The health of the sampled features.
    """

    report: str
    sampled: int
    records: int
    health: FeatureHealth | None


@dataclasses.dataclass(frozen=True)
class _Sample:
    """The features that are analysed, the class and the split of each, and the preview of each by its id."""

    table: FeatureTable
    colours: Colours
    splits: list[str]
    previews: Mapping[str, Preview]

    def split_numbers(self) -> Any:
        """int64 [N]: a number per split."""
        names = list(dict.fromkeys(self.splits))
        return np.array([names.index(split) for split in self.splits])


def write_report(path: str, options: ReportOptions) -> ReportResult:
    """Writes the report of a dataset.

    Args:
      path: The directory that ``extract`` wrote.
      options: Where the page goes, and what it shows.

    Raises:
      InputError: there is no complete dataset at the path.
      UsageError: a package that the report needs is not installed.
    """
    try:
        import sklearn  # noqa: F401
        from jinja2 import Environment, PackageLoader
    except ImportError:
        raise UsageError("report needs Jinja and scikit-learn: pip install 'beam_job[report]'.") from None
    base = path.rstrip("/")
    report = options.report or f"{base}-report.html"
    dataset = Dataset.open(path)
    field = next(iter(dataset.schema.features))
    sample = _sample(dataset, field, options.sample)
    health = None
    if len(sample.table.ids) >= _MIN_ROWS:
        # Only a label that is one class can be doubted by the neighbours.
        one_class = dataset.schema.label_kind is LabelKind.CLASS
        labels = sample.table.labels if one_class else np.full(len(sample.table.ids), NO_LABEL)
        health = examine(sample.table.features, labels, sample.split_numbers())
    head = _head(options.head or f"{base}-head", required=options.head is not None)
    loader = PackageLoader("beam_job.reporting")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script = environment.get_template("report.js").render()
    page = environment.get_template("report.html").render(
        path=base.rpartition("/")[2],
        run=dataset.run,
        classes=_classes(dataset),
        errors=_errors(dataset),
        stages={
            name: seconds for name, seconds in dataset.run["timings"]["all_runs"]["stages"].items() if name != "wall"
        },
        feature=field,
        sampled=len(sample.table.ids),
        health=health,
        findings=_findings(health, sample) if health else [],
        points=_data(sample) if health else None,
        without_preview=sum(example_id not in sample.previews for example_id in sample.table.ids),
        head=head,
        matrix=_matrix(head) if head else None,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    storage.write_bytes(storage.absolute(report), page.encode("utf-8", "replace"))
    return ReportResult(report, len(sample.table.ids), dataset.records, health)


def _sample(dataset: Dataset, field: str, count: int) -> _Sample:
    """The same share of every split, by a stable hash of the ids."""
    share = min(1.0, count / max(1, dataset.records))
    name = field.partition("/")[2] or field
    tables = {split: dataset.table(split, name, share) for split in dataset.splits}
    table = FeatureTable.joined(list(tables.values()))
    splits = [split for split, found in tables.items() for _ in found.ids]
    return _Sample(table, colours_of(table, dataset.schema), splits, _previews(dataset, table.ids))


def _classes(dataset: Dataset) -> list[dict[str, Any]]:
    """The most frequent classes, with their examples in each split."""
    totals: collections.Counter[str] = collections.Counter()
    for split in dataset.splits.values():
        totals.update(split["classes"])
    largest = max(totals.values(), default=1)
    return [
        {
            "name": name,
            "total": total,
            "share": total / largest,
            "splits": {split: content["classes"].get(name, 0) for split, content in dataset.splits.items()},
        }
        for name, total in totals.most_common(_CLASSES_SHOWN)
    ]


def _errors(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """A few error rows of each class of error."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in dataset.run["errors"]}
    if found:
        rows = storage.read_bytes(storage.join(storage.absolute(dataset.path), naming.ERRORS)).splitlines()
        for row in map(json.loads, rows):
            if len(found.setdefault(row["error"], [])) < _ERRORS_SHOWN:
                found[row["error"]].append(row)
    return found


def _previews(dataset: Dataset, ids: Sequence[str]) -> dict[str, Preview]:
    """Id to what is shown of it, for the examples that the job could still read, and as it reads them."""
    modality, wanted = MODALITIES.get(dataset.run["model"]["modality"]), set(ids)

    def preview(original: tuple[str, Callable[[], bytes]]) -> tuple[str, Preview | None]:
        example_id, read = original
        try:
            return example_id, modality.preview(read())
        except ExampleError:
            return example_id, None

    found = ((example_id, read) for example_id, read in originals(dataset) if example_id in wanted)
    with ThreadPoolExecutor(_READS_IN_FLIGHT, "beam-job-previews") as pool:
        shown = map_in_order(preview, itertools.islice(found, len(wanted)), pool, _READS_IN_FLIGHT)
        return {example_id: found for example_id, found in shown if found}


def _findings(health: FeatureHealth, sample: _Sample) -> list[dict[str, Any]]:
    """What deserves attention: each with a count and a few examples."""

    def example(row: int) -> dict[str, Any]:
        example_id = sample.table.ids[row]
        return {
            "id": example_id,
            "label": sample.colours.name(int(sample.colours.labels[row])),
            "split": sample.splits[row],
            "preview": sample.previews.get(example_id),
        }

    def pairs(found: list[tuple[int, int, float]]) -> list[dict[str, Any]]:
        return [
            {"examples": [example(one), example(two)], "words": f"cosine {cosine:.4f}"}
            for one, two, cosine in found[:_EXAMPLES_SHOWN]
        ]

    return [
        {
            "title": "near-duplicates in different splits",
            "count": len(health.leaks),
            "why": "a head is tested on an example that it has seen in training",
            "examples": pairs(health.leaks),
        },
        {
            "title": "doubtful labels",
            "count": len(health.doubtful),
            "why": "the nearest features have another label",
            "examples": [
                {"examples": [example(row)], "words": f"neighbours: {sample.colours.name(other)}"}
                for row, other in health.doubtful[:_EXAMPLES_SHOWN]
            ],
        },
        {
            "title": "near-duplicates",
            "count": len(health.duplicates),
            "why": f"pairs with a cosine of at least {DUPLICATE_COSINE}",
            "examples": pairs(health.duplicates),
        },
        {
            "title": "outliers",
            "count": len(health.outliers),
            "why": "the mean cosine to the nearest five is three standard deviations below the average",
            "examples": [
                {"examples": [example(row)], "words": f"mean cosine {cosine:.3f}"}
                for row, cosine in health.outliers[:_EXAMPLES_SHOWN]
            ],
        },
    ]


def _data(sample: _Sample) -> str:
    """The points of the map, as JSON that may be inside a script element."""
    maps = flat_maps(sample.table.features)
    content = {
        "maps": {name: np.round(points, 4).tolist() for name, points in maps.items()},
        "names": list(sample.colours.names),
        "labels": sample.colours.labels.tolist(),
        "splits": sample.splits,
        "ids": list(sample.table.ids),
        "previews": [found and [found.kind, found.content] for found in map(sample.previews.get, sample.table.ids)],
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


def _matrix(head: Mapping[str, Any]) -> list[list[int]] | None:
    """The confusion of a head's classes as a table; None where there are too many, or an example may have several."""
    count, pairs = len(head["classes"]), head["evaluations"]["head"].get("confusion")
    if pairs is None or count > _CLASSES_IN_MATRIX:
        return None
    matrix = [[0] * count for _ in range(count)]
    for true, predicted, number in pairs:
        matrix[true][predicted] = number
    return matrix
