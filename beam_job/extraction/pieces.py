"""One piece of a container in, a shard for each of its splits: staged, since the labels of other pieces are not known.

Labels are numbered in the order in which the piece has them. When all pieces have been read, ``settling`` gives every
shard its name and its final labels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping

from beam_job.core.errors import BeamJobError, InputError, JobFailedError
from beam_job.core.fingerprints import digest_of
from beam_job.core.labels import names_in
from beam_job.core.metrics import EXAMPLES_DONE, RETRIES, StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.records import Content, ErrorRow, ExampleRef, Origin, PassedOver, Piece, ShardReceipt
from beam_job.dataset import commit, staging, target
from beam_job.dataset.labels import FoundLabels, Numbering
from beam_job.dataset.originals import example_files
from beam_job.dataset.staging import StagedPiece
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.extractor import Extractor
from beam_job.extraction.layout import PieceSummary
from beam_job.extraction.limits import SmallestHashes
from beam_job.extraction.policy import RefPolicy
from beam_job.extraction.preparation import Preparation
from beam_job.inputs.base import Container, ExampleFiles

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PieceWork:
    """What the pieces of a run have in common.

    Attributes:
      source: The input.
      files: Which members are examples.
      policy: What the options say of each example.
      limit: How many examples of each class are taken in each split; None for all.
      is_counted: Whether all pieces are read once before, to count what is in them.
      numbering: How classes get their indices.
      earlier: Key of a piece to the names of the shards that an earlier run made of it.
    """

    source: Container
    files: ExampleFiles
    policy: RefPolicy
    limit: int | None
    is_counted: bool
    numbering: Numbering
    earlier: Mapping[str, tuple[str, ...]]


def piece_work(run: Preparation, source: Container) -> PieceWork:
    """What the pieces of a run that has been prepared have in common."""
    return PieceWork(
        source=source,
        files=example_files(run.config.model.modality),
        policy=run.policy,
        limit=run.options.source.max_per_class,
        is_counted=run.is_counted,
        numbering=run.numbering,
        earlier=run.earlier.pieces if run.earlier else {},
    )


def piece_key(piece: Piece) -> str:
    """What a piece is called in the dataset, whatever its content and its place among the others."""
    return digest_of([piece.kind, piece.name, piece.place])[:16]


def taken_members(work: PieceWork, piece: Piece, contents: bool = True) -> Iterator[Content | PassedOver]:
    """The examples of a piece as the run takes them; arguments as for :meth:`Container.members`."""
    for found in work.source.members(piece, work.files, contents):
        yield found if isinstance(found, PassedOver) else work.policy.take(found, piece.split)


def count_piece(work: PieceWork, piece: Piece) -> SmallestHashes:
    """What there is in a piece, but for what is an error row already."""
    counted = SmallestHashes(work.limit)
    all_of_them = dataclasses.replace(work, policy=work.policy.counting())
    for found in taken_members(all_of_them, piece, contents=False):
        if not isinstance(found, PassedOver) and not isinstance(found[1], ErrorRow):
            counted.add(found[0])
    return counted


def extract_piece(
    extractor: Extractor, work: PieceWork, number: int, piece: Piece
) -> tuple[PieceSummary, list[ShardReceipt]]:
    """Extracts a piece and stages its shards; if that is done already, only looks at them.

    Args:
      extractor: The model and the threads of this process.
      work: What all pieces have in common.
      number: The piece's place among all pieces.
      piece: Which piece.

    Returns:
      What the layout needs to know, and the receipts of the shards, one for each split.

    Raises:
      BeamJobError: what ends the piece; the message names it.
    """
    config, key = extractor.config, piece_key(piece)
    fingerprint = piece_fingerprint(config, work, piece)
    known = known_piece(config, work, piece, fingerprint)
    if known is not None and not (config.retry_errors and any(shard.error_rows for shard in known.shards.values())):
        examples = sum(shard.examples for shard in known.shards.values())
        logger.info("%s: already extracted, %d examples", piece.uri, examples)
        EXAMPLES_DONE.add(examples)
        return _summary(number, key, known), list(known.shards.values())
    try:
        with target.writing(config.output, piece.name):
            staged = _extract(extractor, work, piece, fingerprint)
            return _summary(number, key, staged), list(staged.shards.values())
    except BeamJobError:
        raise
    except Exception as error:
        # The log of the worker keeps the traceback, which does not survive every runner.
        logger.exception("%s failed", piece.uri)
        words = " ".join(str(error).split())
        raise JobFailedError(f"{piece.uri}: {type(error).__name__}: {words}") from error


def piece_fingerprint(config: ExtractionConfig, work: PieceWork, piece: Piece) -> str:
    """Hash over everything that decides the shards of a piece, but their names and the numbers of their labels."""
    place = {name: value for name, value in dataclasses.asdict(piece).items() if name != "uri"}
    told = [work.source.reading(), work.source.description(piece), work.numbering.given]
    return digest_of([config.identity_digest, place, work.policy.to_json(), told])


def known_piece(config: ExtractionConfig, work: PieceWork, piece: Piece, fingerprint: str) -> StagedPiece | None:
    """The receipts of a piece that was extracted before: staged, or those of the shards that were made of it."""
    output, key = config.output, piece_key(piece)
    staged = staging.find_staged(output, key, fingerprint)
    if staged is not None:
        return staged
    found: dict[str, ShardReceipt] = {}
    for name in map(ShardName.parse, work.earlier.get(key, ())):
        receipt = commit.find_receipt(output, name)
        if receipt and receipt.origin and (receipt.origin.piece, receipt.origin.fingerprint) == (key, fingerprint):
            found[name.split] = receipt
    origin = next((receipt.origin for receipt in found.values()), None)
    if origin is None or set(origin.splits) != set(found):
        return None
    return StagedPiece(fingerprint, found, origin.passed_over)


def _summary(number: int, key: str, piece: StagedPiece) -> PieceSummary:
    labels: set[str] = set()
    for receipt in piece.shards.values():
        assert receipt.origin is not None
        labels.update(name for names in receipt.origin.labels.values() for name in names)
    staged = {split: staging.staged_name(key, split) for split in piece.shards}
    return PieceSummary(
        number=number,
        key=key,
        fingerprint=piece.fingerprint,
        shards={split: None if shard.shard == staged[split] else shard.shard for split, shard in piece.shards.items()},
        examples={split: shard.examples for split, shard in piece.shards.items()},
        labels=frozenset(labels),
        passed_over=piece.passed_over,
    )


class _Stream:
    """The examples of a piece as they are read, with what is found out on the way."""

    def __init__(self, work: PieceWork, piece: Piece, times: StageTimes) -> None:
        self._members = taken_members(work, piece)
        self._piece, self._times = piece, times
        self.labels = FoundLabels(work.policy.labels.kind)
        self.passed_over: Counter[str] = Counter()
        # Of the examples that were read and whose outcomes are not known yet.
        self.refs: deque[ExampleRef] = deque()

    def __iter__(self) -> Iterator[Content]:
        while True:
            try:
                with self._times.measure("read"):
                    found = next(self._members, None)
            except OSError as error:
                raise JobFailedError(
                    f"{self._piece.uri} cannot be read: {error}. Run again with --resume: what is done is kept."
                ) from error
            if found is None:
                return
            if isinstance(found, PassedOver):
                self.passed_over[found.kind] += 1
                continue
            ref, content = found
            self.labels.add(names_in(ref.label))
            self.refs.append(ref)
            yield ref, content


def _extract(extractor: Extractor, work: PieceWork, piece: Piece, fingerprint: str) -> StagedPiece:
    start, times, config, key = time.perf_counter(), StageTimes(), extractor.config, piece_key(piece)
    logger.info("%s: begins", piece.uri)
    stream = _Stream(work, piece, times)
    schema = config.schema()
    fingerprints: dict[str, dict[str, str]] = {}
    staging.withdraw_staged(config.output, key)
    if config.resume:
        target.withdraw_success(config.output)
    with contextlib.ExitStack() as stack:
        shards: dict[str, commit.NewShard] = {}
        for outcome in extractor.outcomes_in_order(stream, stream.labels, times):
            ref = stream.refs.popleft()
            assert ref.split is not None
            if ref.split not in shards:
                new = commit.new_shard(config.output, staging.staged_name(key, ref.split), staging.FORMATS, schema)
                shards[ref.split], fingerprints[ref.split] = stack.enter_context(new), {}
            if ref.id in fingerprints[ref.split]:
                raise InputError(f"Expected every example to have a unique id, found {ref.id!r} twice in {piece.uri}.")
            with times.measure("write"):
                shards[ref.split].add(outcome)
            fingerprints[ref.split][ref.id] = config.fingerprint_of(ref)
    names = stream.labels.names()
    origin = Origin(
        piece=key,
        uri=piece.uri,
        fingerprint=fingerprint,
        splits=tuple(sorted(shards)),
        labels={index: (name,) for index, name in enumerate(names)},
        passed_over=dict(sorted(stream.passed_over.items())),
    )
    counts = {split: len(found) for split, found in fingerprints.items()}
    total, wall = sum(counts.values()), time.perf_counter() - start
    timings = {**times.seconds(), "wall": wall, "retries": RETRIES.take(), "extracted": total}
    receipts = {}
    for split, shard in shards.items():
        # A split's part of what the piece took is that of its examples.
        parts = {name: round(value * counts[split] / total, 6) for name, value in timings.items()}
        parts |= {"extracted": counts[split], "run": config.launched}
        name = staging.staged_name(key, split)
        receipts[split] = shard.receipt(name, fingerprint, fingerprints[split], parts, origin)
        if receipts[split].examples != counts[split]:
            raise JobFailedError(f"{name} has {counts[split]} examples but accounts for {receipts[split].examples}.")
    staged = StagedPiece(fingerprint, receipts, origin.passed_over)
    staging.write_staged(config.output, key, staged)
    logger.info("%s: extracted, %d examples, %.1f s", piece.uri, total, wall)
    return staged
