"""Going on with what is there: what an earlier run at the same target was, and what of it can be kept.

A shard whose receipt has the fingerprint that would be computed is kept whole. Of a shard whose images have changed,
the features of those that have not are carried over; a feature depends on its image and on the identity of the run, and
on nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from beam_job.core import naming
from beam_job.core.errors import OutputError, UnknownLabelError
from beam_job.core.naming import ShardName
from beam_job.core.records import Failure, FeatureRecord, ImageRef
from beam_job.dataset.commit import canonical_json, image_fingerprint, read_receipt
from beam_job.dataset.labels import LabelVocabulary
from beam_job.outputs.tfrecord.examples import unpack_example
from beam_job.outputs.tfrecord.framing import read_records
from beam_job.runtime import storage


@dataclasses.dataclass(frozen=True)
class EarlierRun:
    """What is known of the run that wrote, or began to write, the target.

    Attributes:
      identity: What decided its features, as it is written to run.json.
      shards: Split name to number of shards; empty when it had not come that far.
    """

    identity: Mapping[str, Any]
    shards: Mapping[str, int]


def read_earlier_run(output: str) -> EarlierRun | None:
    """The run whose traces are at ``output``, or None when there are none that can be understood."""
    intent = _read_json(output, naming.INTENT)
    run = _read_json(output, naming.RUN)
    identity = intent or run.get("identity")
    if not identity:
        return None
    finished = {split: content["shards"] for split, content in run.get("splits", {}).items()}
    return EarlierRun(identity, _read_json(output, naming.PLAN).get("shards") or finished)


def check_identity(earlier: EarlierRun, identity: Mapping[str, Any]) -> None:
    """Checks that features of both runs may stand side by side.

    Raises:
      OutputError: they may not; the sentence says what differs.
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
            f"--resume would mix features that were made in different ways. What differs: {'; '.join(changes)}. Give "
            f"the options of the earlier run, or --overwrite to begin anew."
        )


def carried_over(
    output: str,
    shard: ShardName,
    refs: Iterable[ImageRef],
    vocabulary: LabelVocabulary,
    identity: str,
    retry_errors: bool,
) -> dict[str, FeatureRecord | Failure]:
    """What an earlier version of a shard holds for images that have not changed.

    Args:
      output: The dataset's directory.
      shard: Which shard.
      refs: Its images now.
      vocabulary: The labels now; a label may have another index than it had.
      identity: Digest of what decides features, beside the image.
      retry_errors: Whether images that failed are to be tried again.

    Returns:
      Id to outcome. Empty when there is no earlier version, or its file is not the one that its receipt speaks of.
    """
    try:
        receipt = read_receipt(output, shard)
        content = storage.read_bytes(storage.join(output, shard.file_name))
    except (OSError, ValueError):
        return {}
    if hashlib.sha256(content).hexdigest() != receipt.digest:
        return {}
    features = {record.id: record.features for record in map(unpack_example, read_records(io.BytesIO(content)))}
    failures = {failure.id: failure for failure in receipt.failures}
    kept: dict[str, FeatureRecord | Failure] = {}
    for ref in refs:
        if receipt.versions.get(ref.id) != image_fingerprint(identity, ref):
            continue
        with contextlib.suppress(UnknownLabelError):
            label = vocabulary.index(ref.label)
            if ref.id in features:
                kept[ref.id] = FeatureRecord(ref.id, label, features[ref.id])
            elif ref.id in failures and not retry_errors and failures[ref.id].stage != UnknownLabelError.stage:
                kept[ref.id] = failures[ref.id]
    return kept


def _read_json(output: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(storage.read_bytes(storage.join(output, name)))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
