"""Resuming: what an earlier run at the same target was, and what of it can be kept.

A shard whose receipt has the expected fingerprint is kept as a whole. Of a shard whose examples have changed, the
features of the unchanged ones are carried over: a feature depends on its example and the identity of the run alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from beam_job.core import naming
from beam_job.core.errors import OutputError, UnknownLabelError
from beam_job.core.fingerprints import canonical_json
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, ExampleRef, FeatureRecord, Float32Array
from beam_job.dataset.commit import read_receipt
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extraction.config import ExtractionConfig
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.runtime import storage


@dataclasses.dataclass(frozen=True)
class EarlierRun:
    """What is known about the run that wrote, or began to write, the target.

    Attributes:
      identity: What decided its features, as in run.json.
      shards: Split name to number of shards; empty when the run did not get that far.
      pieces: Key of a piece of a container to the names of the shards that may have been made of it.
    """

    identity: Mapping[str, Any]
    shards: Mapping[str, int]
    pieces: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def read_earlier_run(output: str) -> EarlierRun | None:
    """The run that left its files at ``output``, or None when there are none that can be understood."""
    intent = _read_json(output, naming.INTENT)
    run = _read_json(output, naming.RUN)
    identity = intent or run.get("identity")
    if not identity:
        return None
    complete = {split: content["shards"] for split, content in run.get("splits", {}).items()}
    layout = _read_json(output, naming.LAYOUT)
    pieces: defaultdict[str, set[str]] = defaultdict(set)
    for shard, key in layout.get("pieces", {}).items():
        pieces[key].add(shard)
    for content in run.get("shards", []):
        if "piece" in content:
            pieces[content["piece"]].add(content["shard"])
    named = {key: tuple(sorted(names)) for key, names in pieces.items()}
    return EarlierRun(identity, layout.get("shards") or complete, named)


def check_identity(earlier: EarlierRun, identity: Mapping[str, Any]) -> None:
    """Checks that the features of both runs may be in one dataset.

    Raises:
      OutputError: they may not; the message says what differs.
    """
    names = sorted({*earlier.identity, *identity})
    changes = [
        f"{name} (was {canonical_json(earlier.identity.get(name)).decode()}, now "
        f"{canonical_json(identity.get(name)).decode()})"
        for name in names
        if canonical_json(earlier.identity.get(name)) != canonical_json(identity.get(name))
    ]
    if changes:
        raise OutputError(
            f"--resume would mix features that were made in different ways. Differences: {'; '.join(changes)}. Give "
            f"the options of the earlier run, or --overwrite to start over."
        )


def carried_over(
    config: ExtractionConfig, shard: ShardName, refs: Iterable[ExampleRef], vocabulary: LabelVocabulary
) -> dict[str, FeatureRecord | ErrorRow]:
    """What an earlier version of a shard holds for examples that have not changed.

    Args:
      config: What decides features; where the dataset is; whether failed examples are tried again.
      shard: Which shard.
      refs: Its examples now.
      vocabulary: The labels now; the index of a label may have changed.

    Returns:
      Id to outcome. Empty when there is no earlier version, or its file does not match its receipt.
    """
    features, rows, fingerprints = _earlier_outcomes(config, shard)
    kept: dict[str, FeatureRecord | ErrorRow] = {}
    for ref in refs:
        if fingerprints.get(ref.id) != config.fingerprint_of(ref):
            continue
        with contextlib.suppress(UnknownLabelError):
            label = vocabulary.stored(ref.label)
            if ref.id in features:
                kept[ref.id] = FeatureRecord(ref.id, label, features[ref.id], ref.kept)
            elif ref.id in rows and not config.retry_errors and rows[ref.id].stage != UnknownLabelError.stage:
                kept[ref.id] = rows[ref.id]
    return kept


def _earlier_outcomes(
    config: ExtractionConfig, shard: ShardName
) -> tuple[dict[str, Mapping[str, Float32Array]], dict[str, ErrorRow], Mapping[str, str]]:
    """Features, error rows and example fingerprints of an earlier version of a shard, by id; empty without a valid one.

    The features come from the first format that both runs have.
    """
    # The columns that are kept come with the refs; the earlier run may have kept others.
    schema = dataclasses.replace(config.schema(), kept=())
    for name in config.formats:
        shard_format = SHARD_FORMATS.get(name)
        file_name = shard.file_name(shard_format.suffix)
        try:
            receipt = read_receipt(config.output, shard)
            content = storage.read_bytes(storage.join(config.output, file_name))
        except (OSError, ValueError):
            continue
        digest = receipt.files.get(file_name)
        if digest is None or hashlib.sha256(content).hexdigest() != digest.sha256:
            continue
        features: dict[str, Mapping[str, Float32Array]] = {
            record.id: {name: schema.shaped(name, values) for name, values in record.features.items()}
            for record in shard_format.read(io.BytesIO(content), schema)
        }
        return features, {row.id: row for row in receipt.error_rows}, receipt.example_fingerprints
    return {}, {}, {}


def _read_json(output: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(storage.read_bytes(storage.join(output, name)))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
