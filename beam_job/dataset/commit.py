"""A shard's commit: file first, receipt after, both whole or not at all.

The receipt is the commit. Whoever finds one with the fingerprint he would compute himself needs to do nothing; a file
without a receipt is nothing yet, and is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from beam_job.core.naming import ShardName
from beam_job.core.records import Failure, FeatureRecord, ImageRef, ShardReceipt
from beam_job.outputs.tfrecord.examples import pack_example
from beam_job.outputs.tfrecord.framing import frame
from beam_job.runtime import storage


def canonical_json(value: Any) -> bytes:
    """JSON whose bytes depend on the value alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def fingerprint(identity: Any, shard: ShardName, refs: Iterable[ImageRef]) -> str:
    """Hash over everything that decides a shard's bytes.

    Args:
      identity: What all shards have in common: model, preprocessing, decoding, engine, label vocabulary.
      shard: Which shard.
      refs: Its images, in their order.

    Returns:
      SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(canonical_json([identity, shard.file_name]))
    for ref in refs:
        digest.update(canonical_json([ref.id, ref.uri, ref.label, ref.version, ref.problem]))
    return digest.hexdigest()


def image_fingerprint(identity: str, ref: ImageRef) -> str:
    """Hash over everything that decides an image's features, but for its label: 16 hexadecimal digits.

    Args:
      identity: Digest of what all images have in common.
      ref: The image.
    """
    content = canonical_json([identity, ref.uri, ref.version, ref.problem])
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def find_receipt(output: str, shard: ShardName, wanted: str) -> ShardReceipt | None:
    """The receipt of a shard that is committed with the fingerprint ``wanted``, or None."""
    try:
        receipt = read_receipt(output, shard)
    except (FileNotFoundError, ValueError):
        return None
    committed = receipt.fingerprint == wanted and storage.exists(storage.join(output, shard.file_name))
    return receipt if committed else None


def read_receipt(output: str, shard: ShardName) -> ShardReceipt:
    """The receipt of a shard.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it cannot be understood.
    """
    content = storage.read_bytes(storage.join(output, shard.receipt_name))
    try:
        return ShardReceipt.from_json(json.loads(content))
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None


def write_receipt(output: str, shard: ShardName, receipt: ShardReceipt) -> None:
    """Commits a shard whose file is in place."""
    storage.write_bytes(storage.join(output, shard.receipt_name), json.dumps(receipt.to_json(), indent=1).encode())


def withdraw_receipt(output: str, shard: ShardName, wanted: str) -> None:
    """Takes back the receipt of an earlier version of a shard, which is about to be replaced.

    Otherwise, between the new file and its receipt, the old receipt would speak of a file that is no more.
    """
    try:
        receipt = read_receipt(output, shard)
    except FileNotFoundError:
        return
    except ValueError:
        receipt = None
    if receipt is None or receipt.fingerprint != wanted:
        storage.delete([storage.join(output, shard.receipt_name)])


class ShardFile:
    """A shard's file while it is written; made by :func:`new_shard`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._labels: Counter[int] = Counter()
        self._failures: list[Failure] = []
        self._size = 0

    def add(self, outcome: FeatureRecord | Failure) -> None:
        """Writes a record, or notes a failure."""
        if isinstance(outcome, Failure):
            self._failures.append(outcome)
            return
        data = frame(pack_example(outcome))
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)
        self._labels[outcome.label] += 1

    def receipt(
        self, shard: ShardName, wanted: str, versions: Mapping[str, str], timings: Mapping[str, float]
    ) -> ShardReceipt:
        """The receipt for what was added."""
        return ShardReceipt(
            shard=shard.file_name,
            fingerprint=wanted,
            records=self._labels.total(),
            failures=tuple(self._failures),
            label_counts=dict(self._labels),
            versions=versions,
            digest=self._digest.hexdigest(),
            size=self._size,
            timings=dict(timings),
        )


@contextlib.contextmanager
def new_shard(output: str, shard: ShardName) -> Iterator[ShardFile]:
    """A shard's file to fill, which appears in the dataset when the block ends without an error."""
    with storage.new_file(storage.join(output, shard.file_name)) as file:
        yield ShardFile(file)
