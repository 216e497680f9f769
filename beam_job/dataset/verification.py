"""Checks that a dataset is complete: reads every byte, counts again, and reports every disagreement as a line."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_job.core import naming
from beam_job.core.errors import InputError
from beam_job.core.labels import indices_in
from beam_job.core.naming import ShardName
from beam_job.core.records import FileDigest
from beam_job.core.sharding import order_key, shard_index, stable_hash
from beam_job.dataset import error_rows
from beam_job.dataset.commit import read_receipt
from beam_job.dataset.run import check_version, read_labels, reader_files, schema_of
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.outputs.selection import suffixes_of
from beam_job.runtime import storage
from beam_job.runtime.threadmap import map_in_order

_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
      output: The dataset's directory.
      shards: Number of shards that were read.
      records: Number of records that were read.
      problems: What is wrong, one line each; empty for a complete dataset.
    """

    output: str
    shards: int
    records: int
    problems: tuple[str, ...]


@dataclasses.dataclass
class _Content:
    """What the files of a shard hold."""

    problems: list[str] = dataclasses.field(default_factory=list)
    files: dict[str, FileDigest] = dataclasses.field(default_factory=dict)
    records: int = 0
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    ids: list[int] = dataclasses.field(default_factory=list)
    error_rows: int = 0


def verify(path: str) -> Verification:
    """Checks a dataset against its own receipts and metadata.

    Args:
      path: The directory that ``extract`` wrote.

    Raises:
      InputError: there is no dataset at the path.
    """
    root = storage.absolute(path)
    try:
        run = json.loads(storage.read_bytes(storage.join(root, naming.RUN)))
        check_version(run, path)
        expected = {ShardName.parse(shard["shard"]): shard for shard in run["shards"]}
    except FileNotFoundError:
        raise InputError(f"There is no dataset at {path}: expected a file {naming.RUN}, found none.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The dataset at {path} is damaged: {naming.RUN}: {error}") from None

    def check(shard: ShardName) -> _Content:
        return _check_shard(root, shard, expected[shard], run)

    with ThreadPoolExecutor(_THREADS, "beam-job-verify") as pool:
        found = dict(zip(expected, map_in_order(check, expected, pool, _THREADS), strict=True))
    problems = [problem for content in found.values() for problem in content.problems]
    problems += _check_ids(found)
    problems += _check_counts(root, run, found)
    problems += _check_metadata(root, run)
    problems += _check_files(root, run, found)
    return Verification(path, len(found), sum(content.records for content in found.values()), tuple(problems))


def _check_shard(root: str, shard: ShardName, expected: Mapping[str, Any], run: Mapping[str, Any]) -> _Content:
    content = _Content()
    for number, shard_format in enumerate(run["formats"]):
        name = shard.file_name(SHARD_FORMATS.get(shard_format).suffix)
        data = _read_file(root, name, content)
        if data is None:
            continue
        if dataclasses.asdict(content.files[name]) != expected["files"].get(name):
            content.problems.append(f"{name}: does not match {naming.RUN}: its size or its SHA-256 differs")
        one = content if number == 0 else _Content()  # ids and labels are the same in every format
        content.problems += [f"{name}: {problem}" for problem in _check_records(one, data, shard, shard_format, run)]
        if one.records != expected["records"]:
            content.problems.append(f"{name}: expected {expected['records']} records, found {one.records}")
    _check_receipt(root, shard, content)
    return content


def _read_file(root: str, name: str, content: _Content) -> bytes | None:
    try:
        data = storage.read_bytes(storage.join(root, name))
    except FileNotFoundError:
        content.problems.append(f"{name}: the file is missing")
        return None
    except OSError as error:
        content.problems.append(f"{name}: the file cannot be read: {error}")
        return None
    content.files[name] = FileDigest(len(data), hashlib.sha256(data).hexdigest())
    return data


def _check_records(
    content: _Content, data: bytes, shard: ShardName, shard_format: str, run: Mapping[str, Any]
) -> Iterator[str]:
    """Counts the records in ``content`` and yields what is wrong with them.

    A shard by input has its examples in the order of the container, wherever a hash would have put them.
    """
    schema, classes = schema_of(run, ()), run["classes"]
    by_input = any("piece" in entry for entry in run["shards"])
    before: tuple[int, str] | None = None
    try:
        for record in SHARD_FORMATS.get(shard_format).read(io.BytesIO(data), schema):
            content.records += 1
            content.labels.update(indices_in(record.label))
            content.ids.append(stable_hash(record.id))
            if not schema.fits(record.features):
                yield f"{record.id!r} has other features than {schema.features}"
            if not all(np.isfinite(values).all() for values in record.features.values()):
                yield f"{record.id!r} has NaN or infinity in its features"
            if outside := [label for label in indices_in(record.label) if not -1 <= label < classes]:
                yield f"{record.id!r} has the label {outside[0]}, outside of -1 to {classes - 1}"
            if by_input:
                continue
            if shard_index(record.id, shard.count) != shard.index:
                yield f"{record.id!r} belongs to another shard"
            key = order_key(record.id)
            if before is not None and key <= before:
                yield f"{record.id!r} is out of order, or repeated"
            before = key
    except ValueError as error:
        yield str(error)


def _check_receipt(root: str, shard: ShardName, content: _Content) -> None:
    try:
        receipt = read_receipt(root, shard)
    except FileNotFoundError:
        content.problems.append(f"{shard.receipt_name}: the receipt is missing")
        return
    except (OSError, ValueError) as error:
        content.problems.append(f"{shard.receipt_name}: the receipt is damaged: {error}")
        return
    content.error_rows = len(receipt.error_rows)
    if receipt.shard != str(shard) or dict(receipt.files) != content.files:
        content.problems.append(f"{shard.receipt_name}: the receipt does not match the files")
    elif dict(receipt.label_counts) != dict(content.labels) or receipt.records != content.records:
        content.problems.append(f"{shard.receipt_name}: the counts do not match the files")


def _check_ids(found: Mapping[ShardName, _Content]) -> Iterator[str]:
    """Compares ids by their 64-bit hashes, so that a hundred million of them fit into memory."""
    hashes = np.sort(np.array([value for content in found.values() for value in content.ids], np.uint64))
    repeated = int((hashes[1:] == hashes[:-1]).sum())
    if repeated:
        yield f"{repeated} ids are repeated in the dataset"


def _check_counts(root: str, run: Mapping[str, Any], found: Mapping[ShardName, _Content]) -> Iterator[str]:
    records = sum(content.records for content in found.values())
    rows = sum(content.error_rows for content in found.values())
    if run["examples"] != records + rows:
        yield f"{run['examples']} examples went in, but there are {records} records and {rows} error rows"
    for split, counts in run["splits"].items():
        count = sum(content.records for shard, content in found.items() if shard.split == split)
        if counts["records"] != count:
            yield f"{naming.RUN}: expected {count} records in {split!r}, found {counts['records']}"
    try:
        with storage.open_read(storage.join(root, naming.ERRORS)) as file:
            errors = Counter(row.error for row in error_rows.read_error_rows(file))
    except (OSError, ValueError, TypeError) as error:
        yield f"{naming.ERRORS}: cannot be read: {error}"
        return
    if dict(errors) != run["errors"] or errors.total() != rows:
        yield f"{naming.ERRORS}: the rows do not match {naming.RUN} and the receipts"


def _check_metadata(root: str, run: Mapping[str, Any]) -> Iterator[str]:
    """Makes the files for other readers again from run.json and compares them."""
    try:
        text = storage.read_bytes(storage.join(root, naming.LABELS))
    except OSError:
        yield f"{naming.LABELS}: the file is missing or cannot be read"
        return
    if hashlib.sha256(text).hexdigest() != run["labels_sha256"] or text.count(b"\n") != run["classes"]:
        yield f"{naming.LABELS}: does not match {naming.RUN}"
        return
    for name, content in reader_files(run, read_labels(root)).items():
        try:
            if storage.read_bytes(storage.join(root, name)) != content.encode("utf-8"):
                yield f"{name}: does not match {naming.RUN}"
        except OSError:
            yield f"{name}: the file is missing or cannot be read"


def _check_files(root: str, run: Mapping[str, Any], found: Mapping[ShardName, _Content]) -> Iterator[str]:
    expected = naming.files_of(found, suffixes_of(run["formats"]), schema_of(run, ()).label_kind)
    present = {storage.relative(info.path, root) for info in storage.list_files(root)}
    if naming.SUCCESS not in present:
        yield f"{naming.SUCCESS}: missing, so the run is not complete"
    for name in sorted(present - expected):
        yield f"{name}: a file that does not belong here"
