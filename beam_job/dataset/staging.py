"""Shards of pieces, in the working directory of a dataset, while their final names and labels are not known."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from beam_job.core import naming
from beam_job.core.records import ShardReceipt
from beam_job.dataset import commit
from beam_job.outputs.selection import chosen_formats
from beam_job.runtime import storage

# Staged shards are in the default format.
FORMATS = chosen_formats(())


@dataclasses.dataclass(frozen=True)
class StagedPiece:
    """The receipt of a piece whose shards are staged; written after them.

    Attributes:
      fingerprint: Hash over everything that decides the piece's examples and their features.
      shards: Split to the receipt of the staged shard.
      passed_over: Kind to number of the members that are no examples.
    """

    fingerprint: str
    shards: Mapping[str, ShardReceipt]
    passed_over: Mapping[str, int]


def staged_name(key: str, split: str) -> str:
    """The path of a staged shard within the dataset, without a suffix."""
    return f"{naming.PIECES}/{key}-{split}"


def find_staged(output: str, key: str, fingerprint: str) -> StagedPiece | None:
    """The piece, if its shards are staged with this fingerprint."""
    try:
        data = json.loads(storage.read_bytes(_receipt_path(output, key)))
        shards = {split: ShardReceipt.from_json(receipt) for split, receipt in data["shards"].items()}
        piece = StagedPiece(data["fingerprint"], shards, dict(data["passed_over"]))
    except (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError):
        return None
    if fingerprint != piece.fingerprint:
        return None
    return piece if all(commit.has_files(output, receipt) for receipt in shards.values()) else None


def write_staged(output: str, key: str, piece: StagedPiece) -> None:
    """Commits a piece whose shards are staged."""
    shards = {split: receipt.to_json() for split, receipt in piece.shards.items()}
    content = {"fingerprint": piece.fingerprint, "shards": shards, "passed_over": dict(piece.passed_over)}
    storage.write_bytes(_receipt_path(output, key), json.dumps(content).encode())


def withdraw_staged(output: str, key: str) -> None:
    """Deletes the receipt of a piece whose staged shards are about to be replaced."""
    storage.delete([_receipt_path(output, key)])


def _receipt_path(output: str, key: str) -> str:
    return storage.join(output, f"{naming.PIECES}/{key}.json")
