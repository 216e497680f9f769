"""From committed shards to a finished dataset: metadata, error rows, run.json, and _SUCCESS last."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beam_job.core import naming
from beam_job.core.errors import JobFailedError
from beam_job.core.metrics import add_times
from beam_job.core.naming import ShardName
from beam_job.core.records import ShardReceipt
from beam_job.dataset import error_rows as dead_letters
from beam_job.dataset.commit import read_receipt
from beam_job.extract.layout import DatasetPlan
from beam_job.outputs.metadata import tfds as metadata
from beam_job.runtime import storage
from beam_job.runtime.threadmap import map_in_order

RECEIPTS_IN_FLIGHT = 32
_LIBRARIES = ("keras", "numpy", "openvino", "pillow", "simplejpeg", "tensorflow")


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """What is known of a run before it begins, as it will stand in run.json.

    Attributes:
      options: The options that decide what is in the dataset.
      model: The model's identity.
      preprocessing: What the model's input is.
      decode: How bytes become pixels.
      engine: What ran the model.
      engine_milliseconds: Engine to its time for an image, where engines were compared.
      outputs: Feature name to the shape for one image.
      identity: What decides the features, for a later run that goes on with this one.
      max_error_rate: The share of error rows above which the run has failed.
    """

    options: Mapping[str, Any]
    model: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    decode: Mapping[str, Any]
    engine: Mapping[str, Any]
    engine_milliseconds: Mapping[str, float]
    outputs: Mapping[str, tuple[int, ...]]
    identity: Mapping[str, Any]
    max_error_rate: float


class _Totals:
    """What the receipts add up to."""

    def __init__(self) -> None:
        self.shards: list[dict[str, Any]] = []
        self.records: dict[str, list[int]] = {}
        self.bytes: Counter[str] = Counter()
        self.labels: dict[str, Counter[int]] = {}
        self.errors: Counter[str] = Counter()
        self.times: list[Mapping[str, float]] = []

    def add(self, receipt: ShardReceipt) -> None:
        split = ShardName.parse(receipt.shard).split
        self.records.setdefault(split, []).append(receipt.records)
        self.bytes[split] += receipt.size
        self.labels.setdefault(split, Counter()).update(receipt.label_counts)
        self.errors.update(failure.error for failure in receipt.failures)
        self.times.append(receipt.timings)
        self.shards.append(
            {
                "file": receipt.shard,
                "records": receipt.records,
                "errors": len(receipt.failures),
                "bytes": receipt.size,
                "sha256": receipt.digest,
            }
        )


def finalise(output: str, plan: DatasetPlan, run: RunDescription, fingerprints: Mapping[str, str]) -> None:
    """Finishes a dataset whose shards are all committed.

    Args:
      output: The dataset's directory.
      plan: What was to be written.
      run: How.
      fingerprints: Shard file name to the fingerprint that it was committed with in this run.

    Raises:
      JobFailedError: the counts do not add up, too many images failed, or no image gave features. All that tells why
        is written; ``_SUCCESS`` is not.
    """
    totals = _Totals()
    with storage.changed_file(storage.join(output, naming.ERRORS)) as errors:
        for receipt in _receipts(output, plan, fingerprints):
            totals.add(receipt)
            for failure in receipt.failures:
                errors.write(dead_letters.pack_failure(failure))
    records = sum(map(sum, totals.records.values()))
    problem = _problem(plan.total, records, totals.errors, run.max_error_rate)
    _write_metadata(output, plan, run, totals, problem)
    if problem:
        raise JobFailedError(problem)
    expected = naming.files_of(plan.shard_names()) | {naming.LOCK}
    present = {storage.relative(info.path, output): info.path for info in storage.list_files(output)}
    storage.delete(path for name, path in present.items() if naming.is_ours(name) and name not in expected)
    storage.remove_empty_folders(storage.join(output, naming.WORK))
    if naming.SUCCESS not in present:
        storage.write_bytes(storage.join(output, naming.SUCCESS), b"")


def _receipts(output: str, plan: DatasetPlan, fingerprints: Mapping[str, str]) -> Iterator[ShardReceipt]:
    """Every shard's receipt, in the order of the shards; each must be of this run."""

    def read(shard: ShardName) -> ShardReceipt:
        try:
            receipt = read_receipt(output, shard)
        except (FileNotFoundError, ValueError) as error:
            raise JobFailedError(
                f"The receipt of {shard.file_name} cannot be read ({error}); run again with --resume to make up for it."
            ) from None
        if receipt.fingerprint != fingerprints.get(shard.file_name):
            raise JobFailedError(
                f"The receipt of {shard.file_name} is not of this run; is another run writing to {output}?"
            )
        return receipt

    with ThreadPoolExecutor(RECEIPTS_IN_FLIGHT, "beam-job-receipts") as pool:
        yield from map_in_order(read, plan.shard_names(), pool, RECEIPTS_IN_FLIGHT)


def _problem(images: int, records: int, errors: Counter[str], max_error_rate: float) -> str | None:
    """Why the run has failed, or None."""
    failed = errors.total()
    if records + failed != images:
        return f"{images} images went in, but {records} records and {failed} error rows came out."
    by_class = ", ".join(f"{count} {name}" for name, count in errors.most_common())
    if not records:
        return f"None of the {images} images gave features ({by_class}); see {naming.ERRORS}."
    if failed > max_error_rate * images:
        return (
            f"{failed} of {images} images failed ({by_class}), more than --max_error_rate={max_error_rate:g} allows; "
            f"see {naming.ERRORS}."
        )
    return None


def _write_metadata(output: str, plan: DatasetPlan, run: RunDescription, totals: _Totals, problem: str | None) -> None:
    names = plan.vocabulary.names
    times = add_times(iter(totals.times))
    retries = int(times.pop("retries", 0))
    model = run.model["handle"]
    files = {
        naming.LABELS: metadata.labels_txt(names),
        **metadata.reader_files(totals.records, totals.bytes, model, run.outputs, len(names)),
    }
    files[naming.RUN] = metadata.run_json(
        {
            "state": "failed" if problem else "complete",
            "problem": problem,
            "options": run.options,
            "model": run.model,
            "preprocessing": run.preprocessing,
            "decode": run.decode,
            "engine": run.engine,
            "identity": run.identity,
            "libraries": library_versions(),
            "images": plan.total,
            "splits": {split: _split_json(split, plan, totals) for split in plan.images},
            "errors": dict(sorted(totals.errors.items())),
            "classes": len(names),
            "labels_sha256": hashlib.sha256(files[naming.LABELS].encode()).hexdigest(),
            "shards": totals.shards,
            "timings": {
                "stages": {name: round(value, 3) for name, value in times.items()},
                "retries": retries,
                "engine_milliseconds": dict(run.engine_milliseconds),
            },
        }
    )
    for name, text in files.items():
        with storage.changed_file(storage.join(output, name)) as file:
            file.write(text.encode("utf-8"))


def _split_json(split: str, plan: DatasetPlan, totals: _Totals) -> dict[str, Any]:
    names = plan.vocabulary.names
    labels = totals.labels[split]
    return {
        "images": plan.images[split],
        "records": sum(totals.records[split]),
        "shards": plan.shards[split],
        "classes": {names[label]: labels[label] for label in sorted(labels) if label >= 0},
        "unlabelled": labels[-1],
    }


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the features' values."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
