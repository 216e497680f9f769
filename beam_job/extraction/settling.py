"""From the shards of pieces to those of the dataset: every one gets its name and its final labels."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, cast

from beam_job.core.errors import JobFailedError
from beam_job.core.fingerprints import digest_of
from beam_job.core.labels import indices_in
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, ExampleRef, Origin, ShardReceipt
from beam_job.dataset import commit, staging, target
from beam_job.dataset.labels import UNKNOWN_LABEL
from beam_job.dataset.staging import StagedPiece
from beam_job.extraction.batches import Outcome
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.layout import DatasetLayout, ShardOrigin
from beam_job.outputs.base import RecordSchema
from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.runtime import storage

logger = logging.getLogger(__name__)


def pieces_to_save(layout: DatasetLayout) -> Iterator[str]:
    """The pieces with a shard, made by an earlier run, whose file is about to be replaced by that of another piece.

    When one container was added and another one removed, shards change their places while their number stays.
    """
    names = {str(shard) for shard in layout.origins}
    yield from sorted(
        {
            origin.key
            for shard, origin in layout.origins.items()
            if origin.earlier not in (None, str(shard)) and origin.earlier in names
        }
    )


def save_piece(config: ExtractionConfig, layout: DatasetLayout, key: str) -> None:
    """Stages the shards that an earlier run has made of a piece."""
    origins = {shard.split: origin for shard, origin in layout.origins.items() if origin.key == key}
    fingerprint = next(iter(origins.values())).fingerprint
    if staging.find_staged(config.output, key, fingerprint) is not None:
        return
    saved = {}
    with target.writing(config.output, key):
        for split, origin in origins.items():
            source = _source(config.output, split, origin)
            name = staging.staged_name(key, split)
            schema = config.schema()
            with commit.new_shard(config.output, name, staging.FORMATS, schema) as new:
                for outcome in source.outcomes(config, schema):
                    new.add(outcome)
            known = source.receipt
            saved[split] = new.receipt(name, fingerprint, known.example_fingerprints, known.timings, known.origin)
        staging.write_staged(config.output, key, StagedPiece(fingerprint, saved, source.origin.passed_over))


def settle_shard(config: ExtractionConfig, layout: DatasetLayout, shard: ShardName) -> ShardReceipt:
    """Commits a shard of the dataset; if that is done already, only returns the receipt.

    Args:
      config: Where the dataset is, in which formats, and what its features are.
      layout: The labels, and which shard is made of what.
      shard: Which shard.

    Raises:
      JobFailedError: what it is made of is gone or damaged, or has labels that the layout cannot tell apart.
    """
    origin = layout.origins[shard]
    source = _source(config.output, shard.split, origin)
    indices = {index: _index(layout, names, shard) for index, names in source.origin.labels.items()}
    labels: dict[int, tuple[str, ...]] = {}
    for index, names in source.origin.labels.items():
        labels[indices[index]] = (*labels.get(indices[index], ()), *names)
    meaning = {index: layout.vocabulary.names[index] for index in labels if index >= 0}
    fingerprint = digest_of(
        [origin.fingerprint, str(shard), list(config.formats), sorted(labels.items()), sorted(meaning.items())]
    )
    known = commit.find_receipt(config.output, shard, fingerprint)
    if known is not None:
        return known
    schema = config.schema(layout.vocabulary.names)
    with target.writing(config.output, str(shard)):
        if config.resume:
            target.withdraw_success(config.output)
        with commit.new_shard(config.output, str(shard), config.formats, schema) as new:
            for outcome in source.outcomes(config, schema):
                new.add(_relabelled(outcome, indices, source.origin, layout))
            commit.withdraw_receipt(config.output, shard, fingerprint)
        receipt = new.receipt(
            str(shard),
            fingerprint,
            source.receipt.example_fingerprints,
            source.receipt.timings,
            dataclasses.replace(source.origin, labels=labels),
        )
        if receipt.examples != source.receipt.examples:
            raise JobFailedError(f"{shard} has {source.receipt.examples} examples but accounts for {receipt.examples}.")
        commit.write_receipt(config.output, shard, receipt)
    logger.info("%s: committed, %d records, %d errors", shard, receipt.records, len(receipt.error_rows))
    return receipt


@dataclasses.dataclass(frozen=True)
class _Source:
    """What a shard is made of: a staged shard, or one of an earlier run.

    Attributes:
      receipt: Its receipt.
      name: The path of its files within the dataset, without a suffix.
    """

    receipt: ShardReceipt
    name: str

    @property
    def origin(self) -> Origin:
        """The piece that it was made of."""
        assert self.receipt.origin is not None, "shards of pieces say what they were made of"
        return self.receipt.origin

    def outcomes(self, config: ExtractionConfig, schema: RecordSchema) -> Iterator[Outcome]:
        """Its records, in their order, and its error rows.

        Raises:
          JobFailedError: its file does not match its receipt.
        """
        by_suffix = {SHARD_FORMATS.get(name).suffix: SHARD_FORMATS.get(name) for name in SHARD_FORMATS}
        file_name, shard_format = next(
            (f"{self.name}{suffix}", found)
            for suffix, found in by_suffix.items()
            if f"{self.name}{suffix}" in self.receipt.files
        )
        path = storage.join(config.output, file_name)
        with storage.open_read(path) as file:
            if hashlib.file_digest(cast(Any, file), "sha256").hexdigest() != self.receipt.files[file_name].sha256:
                raise JobFailedError(f"{path} is damaged; run again with --resume after you have deleted it.")
            file.seek(0)
            for record in shard_format.read(file, schema):
                features = {name: schema.shaped(name, values) for name, values in record.features.items()}
                yield dataclasses.replace(record, features=features)
        yield from self.receipt.error_rows


def _source(output: str, split: str, origin: ShardOrigin) -> _Source:
    staged = staging.find_staged(output, origin.key, origin.fingerprint)
    if staged is not None:
        return _Source(staged.shards[split], staging.staged_name(origin.key, split))
    receipt = commit.find_receipt(output, ShardName.parse(origin.earlier)) if origin.earlier else None
    if receipt is None or receipt.origin is None or receipt.origin.fingerprint != origin.fingerprint:
        raise JobFailedError(
            f"The features of the piece {origin.key} for {split!r} are gone; is another run writing to {output}? Run "
            f"again with --resume."
        )
    return _Source(receipt, receipt.shard)


def _index(layout: DatasetLayout, names: tuple[str, ...], shard: ShardName) -> int:
    """The final index of what one index of a shard stands for."""
    found = {layout.index_of(name) for name in names}
    if len(found) > 1:
        raise JobFailedError(
            f"{shard} holds labels under one number that are now different ones ({', '.join(map(repr, names[:3]))}): "
            f"the folders that all examples share have changed. Run again with --overwrite."
        )
    return found.pop()


def _relabelled(outcome: Outcome, indices: Mapping[int, int], origin: Origin, layout: DatasetLayout) -> Outcome:
    """A record with its final label; an error row where the vocabulary does not have it."""
    if isinstance(outcome, ErrorRow):
        return outcome
    found = indices_in(outcome.label)
    unknown = next((index for index in found if indices.get(index) == UNKNOWN_LABEL), None)
    if unknown is not None:
        error = layout.vocabulary.unknown(layout.name_of(origin.labels[unknown][0]))
        return ErrorRow.of(ExampleRef(outcome.id, origin.uri), error)
    if isinstance(outcome.label, float):
        return outcome
    final = sorted({indices.get(index, index) for index in found})  # -1 stays
    return dataclasses.replace(outcome, label=tuple(final) if isinstance(outcome.label, tuple) else final[0])
