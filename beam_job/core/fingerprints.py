"""Fingerprints: hashes over everything that decides the bytes of a shard, or the features of an example."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from beam_job.core.naming import ShardName
from beam_job.core.records import ExampleRef


def canonical_json(value: Any) -> bytes:
    """JSON whose bytes depend on the value alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of a value that JSON can hold."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def shard_fingerprint(identity: Any, shard: ShardName, refs: Iterable[tuple[ExampleRef, bool]]) -> str:
    """Hash over everything that decides a shard's bytes.

    Args:
      identity: What all shards have in common: model, preprocessing, decoding, engine, formats, label vocabulary.
      shard: Which shard.
      refs: Its examples, in their order, each with whether it may be read.

    Returns:
      SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(canonical_json([identity, str(shard)]))
    for ref, allowed in refs:
        further = [*_further(ref, allowed), *([ref.kept] if ref.kept else [])]
        digest.update(canonical_json([ref.id, ref.uri, ref.label, ref.version, ref.problem, *further]))
    return digest.hexdigest()


def example_fingerprint(identity: str, ref: ExampleRef, allowed: bool = True) -> str:
    """Hash over everything that decides an example's features, except its label: 16 hexadecimal digits.

    Args:
      identity: Digest of what all examples have in common.
      ref: The example.
      allowed: Whether it may be read: its file is in one of the allowed roots.
    """
    content = canonical_json([identity, ref.uri, ref.version, ref.problem, *_further(ref, allowed)])
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _further(ref: ExampleRef, allowed: bool) -> list[Any]:
    """What decides beside the file that is read; nothing for most examples."""
    outside = [] if allowed else ["outside of the allowed roots"]
    clip = [] if ref.start is None else [ref.start, ref.end]
    return [*outside, *clip, *([] if ref.box is None else [ref.box])]
