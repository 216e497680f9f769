"""From committed shards to a complete dataset: metadata, error rows, run.json, and _SUCCESS last."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core import naming
from beam_job.core.errors import JobFailedError
from beam_job.core.metrics import add_times
from beam_job.core.naming import ShardName
from beam_job.core.options import ExtractOptions
from beam_job.core.records import ErrorRow, ShardReceipt
from beam_job.core.sharding import stable_hash
from beam_job.dataset import error_rows
from beam_job.dataset.commit import read_receipt
from beam_job.dataset.run import labels_txt, reader_files, run_json
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.layout import DatasetLayout
from beam_job.extraction.notes import all_notes
from beam_job.outputs.selection import all_suffixes, suffixes_of
from beam_job.runtime import storage
from beam_job.runtime.threadmap import map_in_order
from beam_job.runtime.versions import library_versions

RECEIPTS_IN_FLIGHT = 32


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """What is known about a run before it begins, as it will be in run.json.

    Attributes:
      facts: The fields of run.json that are known: options, model, preprocessing, decode, engine, formats, identity.
      notes: How the input is understood.
      extras: Suffixes of files that could be examples, and what must be installed for them.
      engine_milliseconds: Engine to its time per example, where engines were compared.
      max_error_rate: The share of error rows above which the run fails.
      launched: As in the receipts of this run.
    """

    facts: Mapping[str, Any]
    notes: Sequence[str]
    extras: Mapping[str, str]
    engine_milliseconds: Mapping[str, float]
    max_error_rate: float
    launched: int


def describe_run(options: ExtractOptions, config: ExtractionConfig, notes: Sequence[str] = ()) -> RunDescription:
    """What run.json will say about how the dataset came to be.

    Args:
      options: All options.
      config: What every worker knows.
      notes: How the input is understood.
    """
    modality = config.model.modality
    facts = {
        "options": options.recorded(),
        "model": config.model.to_json(),
        "preprocessing": modality.preprocessing(),
        "decode": modality.decode_policy(),
        "engine": config.engine.to_json(),
        "formats": list(config.formats),
        "label_type": config.label_kind.value,
        "kept_columns": list(config.kept),
        "identity": config.identity(),
    }
    return RunDescription(
        facts=facts,
        notes=tuple(notes),
        extras=dict(modality.extras),
        engine_milliseconds=config.engine.milliseconds,
        max_error_rate=options.output.max_error_rate,
        launched=config.launched,
    )


class _Totals:
    """The sum of the receipts."""

    def __init__(self) -> None:
        self.shards: list[dict[str, Any]] = []
        self.records: Counter[str] = Counter()
        self.labels: dict[str, Counter[int]] = {}
        self.errors: Counter[str] = Counter()
        self.lost = 0  # examples, beside the rows that tell of them
        self.first_error: ErrorRow | None = None
        self.times: list[Mapping[str, float]] = []  # of all receipts
        self.hashes: list[npt.NDArray[np.uint64]] = []  # of the ids in each shard by input

    def add(self, receipt: ShardReceipt) -> None:
        split = ShardName.parse(receipt.shard).split
        self.records[split] += receipt.records
        self.labels.setdefault(split, Counter()).update(receipt.label_counts)
        self.errors.update(row.error for row in receipt.error_rows)
        self.lost += sum(row.weight - 1 for row in receipt.error_rows)
        rows = [*receipt.error_rows, *([self.first_error] if self.first_error else [])]
        self.first_error = min(rows, key=lambda row: row.id, default=None)
        self.times.append(receipt.timings)
        if receipt.origin:
            self.hashes.append(np.array([stable_hash(name) for name in receipt.example_fingerprints], np.uint64))
        self.shards.append(
            {
                "shard": receipt.shard,
                "records": receipt.records,
                "errors": len(receipt.error_rows),
                **({"piece": receipt.origin.piece} if receipt.origin else {}),
                "files": {name: dataclasses.asdict(file) for name, file in receipt.files.items()},
            }
        )


def finalise(output: str, layout: DatasetLayout, run: RunDescription, fingerprints: Mapping[str, str]) -> None:
    """Completes a dataset whose shards are all committed.

    Args:
      output: The dataset's directory.
      layout: Which shards there must be.
      run: How they were made.
      fingerprints: Name of a shard to the fingerprint that it was committed with in this run.

    Raises:
      JobFailedError: the counts do not add up, too many examples failed, or no example gave features. Everything that
        says why is written; ``_SUCCESS`` is not.
    """
    totals = _Totals()
    with storage.changed_file(storage.join(output, naming.ERRORS)) as errors:
        for receipt in _receipts(output, layout, fingerprints):
            totals.add(receipt)
            for row in receipt.error_rows:
                errors.write(error_rows.pack_error_row(row))
    problem = _repeated(totals) or _problem(layout.total, totals, run.max_error_rate)
    _write_metadata(output, layout, run, totals, problem)
    if problem:
        raise JobFailedError(problem)
    expected = naming.files_of(layout.shard_names(), suffixes_of(run.facts["formats"]), layout.vocabulary.kind) | {
        naming.LOCK
    }
    present = {storage.relative(info.path, output): info.path for info in storage.list_files(output)}
    suffixes = all_suffixes()
    storage.delete(path for name, path in present.items() if naming.is_ours(name, suffixes) and name not in expected)
    storage.remove_empty_folders(storage.join(output, naming.WORK))
    if naming.SUCCESS not in present:
        storage.write_bytes(storage.join(output, naming.SUCCESS), b"")


def _receipts(output: str, layout: DatasetLayout, fingerprints: Mapping[str, str]) -> Iterator[ShardReceipt]:
    """Every shard's receipt, in the order of the shards; each must be from this run."""

    def read(shard: ShardName) -> ShardReceipt:
        try:
            receipt = read_receipt(output, shard)
        except (FileNotFoundError, ValueError) as error:
            raise JobFailedError(
                f"The receipt of {shard} cannot be read ({error}); run again with --resume to write it."
            ) from None
        if receipt.fingerprint != fingerprints.get(str(shard)):
            raise JobFailedError(f"The receipt of {shard} is not from this run; is another run writing to {output}?")
        return receipt

    with ThreadPoolExecutor(RECEIPTS_IN_FLIGHT, "beam-job-receipts") as pool:
        yield from map_in_order(read, layout.shard_names(), pool, RECEIPTS_IN_FLIGHT)


def _repeated(totals: _Totals) -> str | None:
    """Whether ids are repeated, in shards by input: the ids of a column are not known before all pieces are read."""
    if not totals.hashes:
        return None
    hashes = np.sort(np.concatenate(totals.hashes))
    count = int((hashes[1:] == hashes[:-1]).sum())
    return (
        f"Expected every example to have a unique id, found {count} repeated; name another --id_column."
        if count
        else None
    )


def _problem(examples: int, totals: _Totals, max_error_rate: float) -> str | None:
    """Why the run has failed, or None."""
    records, failed = totals.records.total(), totals.errors.total()
    if records + failed != examples:
        return f"{examples} examples went in, but {records} records and {failed} error rows came out."
    by_class = ", ".join(f"{count} {name}" for name, count in totals.errors.most_common())
    first = totals.first_error
    example = f"for instance {first.id}: {first.message}. All are in {naming.ERRORS}." if first else ""
    if not records:
        return f"None of the {examples} examples gave features ({by_class}); {example}"
    failed, examples = failed + totals.lost, examples + totals.lost
    if failed > max_error_rate * examples:
        return (
            f"{failed} of {examples} examples failed ({by_class}), more than --max_error_rate={max_error_rate:g} "
            f"allows; {example}"
        )
    return None


def _write_metadata(
    output: str, layout: DatasetLayout, run: RunDescription, totals: _Totals, problem: str | None
) -> None:
    names = layout.vocabulary.names
    labels = labels_txt(names)
    content = {
        "state": "failed" if problem else "complete",
        "problem": problem,
        **run.facts,
        "libraries": library_versions(),
        "examples": layout.total,
        "splits": {split: _split_json(split, layout, totals) for split in layout.examples},
        "errors": dict(sorted(totals.errors.items())),
        "passed_over": dict(layout.passed_over),
        "notes": all_notes(run.notes, layout, run.extras),
        "classes": len(names),
        "labels_sha256": hashlib.sha256(labels.encode()).hexdigest(),
        "shards": totals.shards,
        "timings": {
            **_last_work(totals.times, run.launched),
            "engine_milliseconds": dict(run.engine_milliseconds),
            "all_runs": _work(totals.times),
        },
    }
    files = {naming.LABELS: labels, **reader_files(content, names), naming.RUN: run_json(content)}
    for name, text in files.items():
        with storage.changed_file(storage.join(output, name)) as file:
            file.write(text.encode("utf-8"))


def _last_work(timings: Sequence[Mapping[str, float]], launched: int) -> dict[str, Any]:
    """What this run has done or, when all was done already, the last one that did something, and which run that was.

    So the metadata of a dataset does not change when a run finds nothing to do.
    """
    runs = {int(receipt.get("run", 0)) for receipt in timings}
    last = launched if launched in runs else max(runs, default=launched)
    return {"run": last, **_work(receipt for receipt in timings if receipt.get("run", 0) == last)}


def _work(timings: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """What some receipts say about the work behind them: seconds per stage, repeated requests, extracted examples."""
    times = add_times(iter(timings))
    counts = {name: int(times.pop(name, 0)) for name in ("retries", "extracted", "run")}
    stages = {name: round(value, 3) for name, value in times.items()}
    return {"stages": stages, "retries": counts["retries"], "extracted": counts["extracted"]}


def _split_json(split: str, layout: DatasetLayout, totals: _Totals) -> dict[str, Any]:
    names = layout.vocabulary.names
    labels = totals.labels[split]
    return {
        "examples": layout.examples[split],
        "records": totals.records[split],
        "shards": layout.shards[split],
        "classes": {names[label]: labels[label] for label in sorted(labels) if label >= 0},
        "unlabelled": labels[-1],
    }
