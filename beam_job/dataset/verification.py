"""Is a dataset whole? Every byte is read, every count is taken again, and everything that disagrees is a line."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_job.core import naming
from beam_job.core.errors import InputError
from beam_job.core.naming import ShardName
from beam_job.core.sharding import order_key, shard_index, stable_hash
from beam_job.dataset import error_rows as dead_letters
from beam_job.dataset.commit import read_receipt
from beam_job.outputs.metadata import tfds as metadata
from beam_job.outputs.tfrecord.examples import unpack_example
from beam_job.outputs.tfrecord.framing import read_records
from beam_job.runtime import storage
from beam_job.runtime.threadmap import map_in_order

_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
      output: The dataset's directory.
      shards: Shards that were read.
      records: Records that were read.
      problems: What is wrong, a line each; empty when the dataset is whole.
    """

    output: str
    shards: int
    records: int
    problems: tuple[str, ...]


@dataclasses.dataclass
class _Shard:
    """What reading a shard gave."""

    problems: list[str] = dataclasses.field(default_factory=list)
    records: int = 0
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    ids: list[int] = dataclasses.field(default_factory=list)
    failures: int = 0


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
        shards = [ShardName.parse(shard["file"]) for shard in run["shards"]]
    except FileNotFoundError:
        raise InputError(f"There is no dataset at {path}: expected a file {naming.RUN}, found none.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The dataset at {path} cannot be understood: {naming.RUN}: {error}") from None
    found: list[_Shard] = []
    with ThreadPoolExecutor(_THREADS, "beam-job-verify") as pool:
        expected = dict(zip(shards, run["shards"], strict=True))

        def check(shard: ShardName) -> _Shard:
            return _check_shard(root, shard, expected[shard], run)

        found.extend(map_in_order(check, shards, pool, _THREADS))
    problems = [problem for shard in found for problem in shard.problems]
    problems += _check_ids(found)
    problems += _check_counts(root, run, shards, found)
    problems += _check_metadata(root, run)
    problems += _check_files(root, shards)
    return Verification(path, len(shards), sum(shard.records for shard in found), tuple(problems))


def _check_shard(root: str, shard: ShardName, expected: Mapping[str, Any], run: Mapping[str, Any]) -> _Shard:
    result, name = _Shard(), shard.file_name
    try:
        content = storage.read_bytes(storage.join(root, name))
    except FileNotFoundError:
        result.problems.append(f"{name}: the file is missing")
        return result
    except OSError as error:
        result.problems.append(f"{name}: the file cannot be read: {error}")
        return result
    digest = hashlib.sha256(content).hexdigest()
    if len(content) != expected["bytes"] or digest != expected["sha256"]:
        result.problems.append(f"{name}: the content is not that of {naming.RUN} (its size or its SHA-256 differs)")
    for problem in _read_shard(result, content, shard, run):
        result.problems.append(f"{name}: {problem}")
    if result.records != expected["records"]:
        result.problems.append(f"{name}: expected {expected['records']} records, found {result.records}")
    _check_receipt(root, shard, result, digest)
    return result


def _read_shard(result: _Shard, content: bytes, shard: ShardName, run: Mapping[str, Any]) -> Iterator[str]:
    """Reads the records into ``result`` and gives what is wrong with them."""
    lengths = {name: math.prod(shape) for name, shape in run["model"]["outputs"].items()}
    classes = run["classes"]
    before: tuple[int, str] | None = None
    try:
        for data in read_records(io.BytesIO(content)):
            record = unpack_example(data)
            result.records += 1
            result.labels[record.label] += 1
            result.ids.append(stable_hash(record.id))
            if {name: values.size for name, values in record.features.items()} != lengths:
                yield f"{record.id!r} has other features than {lengths}"
            if not all(np.isfinite(values).all() for values in record.features.values()):
                yield f"{record.id!r} has NaN or infinity in its features"
            if not -1 <= record.label < classes:
                yield f"{record.id!r} has the label {record.label}, outside of -1 to {classes - 1}"
            if shard_index(record.id, shard.count) != shard.index:
                yield f"{record.id!r} belongs to another shard"
            key = order_key(record.id)
            if before is not None and key <= before:
                yield f"{record.id!r} stands out of order, or twice"
            before = key
    except ValueError as error:
        yield str(error)


def _check_receipt(root: str, shard: ShardName, result: _Shard, digest: str) -> None:
    try:
        receipt = read_receipt(root, shard)
    except FileNotFoundError:
        result.problems.append(f"{shard.receipt_name}: the receipt is missing")
        return
    except (OSError, ValueError) as error:
        result.problems.append(f"{shard.receipt_name}: the receipt cannot be understood: {error}")
        return
    result.failures = len(receipt.failures)
    if receipt.shard != shard.file_name or receipt.digest != digest:
        result.problems.append(f"{shard.receipt_name}: the receipt is not of the file that is there")
    elif dict(receipt.label_counts) != dict(result.labels) or receipt.records != result.records:
        result.problems.append(f"{shard.receipt_name}: the counts are not those of the file")


def _check_ids(found: list[_Shard]) -> Iterator[str]:
    """Ids are compared by their 64-bit hashes, so that a hundred million of them fit into memory."""
    hashes = np.sort(np.array([value for shard in found for value in shard.ids], np.uint64))
    repeated = int((hashes[1:] == hashes[:-1]).sum())
    if repeated:
        yield f"{repeated} ids stand in the dataset more than once"


def _check_counts(root: str, run: Mapping[str, Any], shards: list[ShardName], found: list[_Shard]) -> Iterator[str]:
    records, failures = sum(shard.records for shard in found), sum(shard.failures for shard in found)
    if run["images"] != records + failures:
        yield f"{run['images']} images went in, but there are {records} records and {failures} error rows"
    for split, content in run["splits"].items():
        count = sum(one.records for shard, one in zip(shards, found, strict=True) if shard.split == split)
        if content["records"] != count:
            yield f"{naming.RUN}: expected {count} records in {split!r}, found {content['records']}"
    try:
        with storage.open_read(storage.join(root, naming.ERRORS)) as file:
            rows = Counter(failure.error for failure in dead_letters.read_failures(file))
    except (OSError, ValueError, TypeError) as error:
        yield f"{naming.ERRORS}: cannot be read: {error}"
        return
    if dict(rows) != run["errors"] or rows.total() != failures:
        yield f"{naming.ERRORS}: the rows are not those of {naming.RUN} and the receipts"


def _check_metadata(root: str, run: Mapping[str, Any]) -> Iterator[str]:
    """The files for other readers are made again from run.json and compared."""
    lengths: dict[str, list[int]] = {}
    sizes: Counter[str] = Counter()
    for shard in run["shards"]:
        split = ShardName.parse(shard["file"]).split
        lengths.setdefault(split, []).append(shard["records"])
        sizes[split] += shard["bytes"]
    expected = metadata.reader_files(lengths, sizes, run["model"]["handle"], run["model"]["outputs"], run["classes"])
    for name, text in expected.items():
        try:
            if storage.read_bytes(storage.join(root, name)) != text.encode("utf-8"):
                yield f"{name}: does not agree with {naming.RUN}"
        except OSError:
            yield f"{name}: the file is missing or cannot be read"
    try:
        labels = storage.read_bytes(storage.join(root, naming.LABELS))
    except OSError:
        yield f"{naming.LABELS}: the file is missing or cannot be read"
        return
    if hashlib.sha256(labels).hexdigest() != run["labels_sha256"] or labels.count(b"\n") != run["classes"]:
        yield f"{naming.LABELS}: does not agree with {naming.RUN}"


def _check_files(root: str, shards: list[ShardName]) -> Iterator[str]:
    expected = naming.files_of(shards)
    present = {storage.relative(info.path, root) for info in storage.list_files(root)}
    if naming.SUCCESS not in present:
        yield f"{naming.SUCCESS}: missing, so the run did not end well"
    for name in sorted(present - expected):
        yield f"{name}: a file that does not belong here"
