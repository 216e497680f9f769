"""A shard's commit: its files first, the receipt after them, each whole or not at all.

The receipt is the commit. A run that finds a receipt with the fingerprint that it computes itself has nothing to do;
files without a receipt count for nothing, and are replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from beam_job.core.labels import indices_in
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, FeatureRecord, FileDigest, Origin, ShardReceipt
from beam_job.outputs.base import RecordSchema
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.runtime import storage


def find_receipt(output: str, shard: ShardName, fingerprint: str | None = None) -> ShardReceipt | None:
    """The receipt of a shard that is committed, with this fingerprint if one is given, or None."""
    try:
        receipt = read_receipt(output, shard)
    except (FileNotFoundError, ValueError):
        return None
    return receipt if fingerprint in (None, receipt.fingerprint) and has_files(output, receipt) else None


def has_files(output: str, receipt: ShardReceipt) -> bool:
    """Whether the files of a receipt are there, with their sizes."""
    return all(_has_size(storage.join(output, name), file.bytes) for name, file in receipt.files.items())


def _has_size(path: str, size: int) -> bool:
    try:
        return storage.size_of(path) == size
    except FileNotFoundError:
        return False


def read_receipt(output: str, shard: ShardName) -> ShardReceipt:
    """The receipt of a shard.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged.
    """
    content = storage.read_bytes(storage.join(output, shard.receipt_name))
    try:
        return ShardReceipt.from_json(json.loads(content))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def write_receipt(output: str, shard: ShardName, receipt: ShardReceipt) -> None:
    """Commits a shard whose files are in place."""
    storage.write_bytes(storage.join(output, shard.receipt_name), json.dumps(receipt.to_json(), indent=1).encode())


def withdraw_receipt(output: str, shard: ShardName, fingerprint: str) -> None:
    """Deletes the receipt of an earlier version of a shard, which is about to be replaced.

    Otherwise, between the new files and their receipt, the old receipt would describe files that no longer exist.
    """
    try:
        receipt = read_receipt(output, shard)
    except FileNotFoundError:
        return
    except ValueError:
        receipt = None
    if receipt is None or receipt.fingerprint != fingerprint:
        storage.delete([storage.join(output, shard.receipt_name)])


class _DigestedFile:
    """A file to write that keeps the digest and the size of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._bytes += len(data)
        return self._file.write(data)

    def digest(self) -> FileDigest:
        return FileDigest(self._bytes, self._sha256.hexdigest())


class NewShard:
    """A shard while it is written; made by :func:`new_shard`."""

    def __init__(self, files: Mapping[str, tuple[str, IO[bytes]]], schema: RecordSchema) -> None:
        """A shard without records.

        Args:
          files: Name of each file to the name of its format, and the open file.
          schema: What the records have in common.
        """
        self._files: dict[str, Any] = {name: _DigestedFile(file) for name, (_, file) in files.items()}
        self._writers = [
            SHARD_FORMATS.get(shard_format).writer(self._files[name], schema)
            for name, (shard_format, _) in files.items()
        ]
        self._records = 0
        self._labels: Counter[int] = Counter()
        self._error_rows: list[ErrorRow] = []

    def add(self, outcome: FeatureRecord | ErrorRow) -> None:
        """Writes a record to each file, or keeps an error row for the receipt."""
        if isinstance(outcome, ErrorRow):
            self._error_rows.append(outcome)
            return
        for writer in self._writers:
            writer.add(outcome)
        self._records += 1
        self._labels.update(indices_in(outcome.label))

    def finish(self) -> None:
        """Completes the files."""
        for writer in self._writers:
            writer.finish()

    def receipt(
        self,
        shard: str,
        fingerprint: str,
        example_fingerprints: Mapping[str, str],
        timings: Mapping[str, float],
        origin: Origin | None = None,
    ) -> ShardReceipt:
        """The receipt for what was added, once the files are complete."""
        return ShardReceipt(
            shard=shard,
            fingerprint=fingerprint,
            records=self._records,
            error_rows=tuple(self._error_rows),
            label_counts=dict(self._labels),
            example_fingerprints=example_fingerprints,
            files={name: file.digest() for name, file in self._files.items()},
            timings=dict(timings),
            origin=origin,
        )


@contextlib.contextmanager
def new_shard(output: str, name: str, formats: Sequence[str], schema: RecordSchema) -> Iterator[NewShard]:
    """A shard to fill, whose files appear in the dataset when the block ends without an error.

    Args:
      output: The dataset's directory.
      name: The names of the files, without the suffix of a format.
      formats: The names of the formats, for a file in each.
      schema: What the records have in common.
    """
    names = {f"{name}{SHARD_FORMATS.get(shard_format).suffix}": shard_format for shard_format in formats}
    with contextlib.ExitStack() as stack:
        files = {
            file_name: (shard_format, stack.enter_context(storage.new_file(storage.join(output, file_name))))
            for file_name, shard_format in names.items()
        }
        new = NewShard(files, schema)
        yield new
        new.finish()
