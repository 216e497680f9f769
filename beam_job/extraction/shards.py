"""One shard of refs in, one committed shard of features out: the unit of work of a run."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from beam_job.core.errors import BeamJobError, InputError, JobFailedError
from beam_job.core.fingerprints import shard_fingerprint
from beam_job.core.metrics import EXAMPLES_DONE, RETRIES, StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.records import ExampleRef, ShardReceipt
from beam_job.core.sharding import order_key
from beam_job.dataset import commit, target
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extraction.batches import Outcome
from beam_job.extraction.extractor import Extractor
from beam_job.extraction.resumption import carried_over

_DUPLICATES_SHOWN = 5
logger = logging.getLogger(__name__)


def extract_shard(
    extractor: Extractor, shard: ShardName, refs: Iterable[ExampleRef], vocabulary: LabelVocabulary
) -> ShardReceipt:
    """Extracts a shard and commits it; if that is done already, only returns the receipt.

    Args:
      extractor: The model and the threads of this process.
      shard: Which shard.
      refs: All examples of the shard, in any order.
      vocabulary: Label to index.

    Returns:
      The receipt, which accounts for every ref.

    Raises:
      InputError: two refs have the same id.
      BeamJobError: anything else that ends the shard; the message names it.
    """
    config = extractor.config
    ordered = sorted(refs, key=lambda ref: order_key(ref.id))
    check_unique(ordered)
    identity = [config.identity_digest, list(config.formats), list(vocabulary.names), *config.schema().extent()]
    fingerprint = shard_fingerprint(identity, shard, ((ref, config.allows(ref)) for ref in ordered))
    receipt = commit.find_receipt(config.output, shard, fingerprint)
    if receipt is not None and not (config.retry_errors and receipt.error_rows):
        logger.info("%s: already committed, %d examples", shard, receipt.examples)
        EXAMPLES_DONE.add(receipt.examples)
        return receipt
    try:
        with target.writing(config.output, str(shard)):
            return _extract(extractor, shard, fingerprint, ordered, vocabulary)
    except BeamJobError:
        raise
    except Exception as error:
        # The log of the worker keeps the traceback, which does not survive every runner.
        logger.exception("%s failed", shard)
        words = " ".join(str(error).split())
        raise JobFailedError(f"{shard}: {type(error).__name__}: {words}") from error


def _extract(
    extractor: Extractor, shard: ShardName, fingerprint: str, refs: list[ExampleRef], vocabulary: LabelVocabulary
) -> ShardReceipt:
    start, times, config = time.perf_counter(), StageTimes(), extractor.config
    kept: dict[str, Outcome] = {}
    if config.resume:
        kept = carried_over(config, shard, refs, vocabulary)
        target.withdraw_success(config.output)
    logger.info("%s: begins, %d examples, %d carried over", shard, len(refs), len(kept))
    schema = config.schema(vocabulary.names)
    with commit.new_shard(config.output, str(shard), config.formats, schema) as new:
        for outcome in _with_kept(extractor, refs, kept, vocabulary, times):
            with times.measure("write"):
                new.add(outcome)
        if config.resume:
            commit.withdraw_receipt(config.output, shard, fingerprint)
    wall = time.perf_counter() - start
    timings = {**times.seconds(), "wall": wall, "retries": RETRIES.take(), "extracted": len(refs) - len(kept)}
    fingerprints = {ref.id: config.fingerprint_of(ref) for ref in refs}
    rounded = {**{name: round(value, 6) for name, value in timings.items()}, "run": config.launched}
    receipt = new.receipt(str(shard), fingerprint, fingerprints, rounded)
    if receipt.examples != len(refs):
        raise JobFailedError(f"{shard} has {len(refs)} examples but accounts for {receipt.examples}.")
    commit.write_receipt(config.output, shard, receipt)
    logger.info(
        "%s: committed, %d records, %d errors, %.1f s (%s)",
        shard,
        receipt.records,
        len(receipt.error_rows),
        timings["wall"],
        ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in times.seconds().items()),
    )
    return receipt


def _with_kept(
    extractor: Extractor,
    refs: list[ExampleRef],
    kept: Mapping[str, Outcome],
    vocabulary: LabelVocabulary,
    times: StageTimes,
) -> Iterator[Outcome]:
    """An outcome for each ref, in order: those carried over from an earlier run, and those extracted now."""
    fresh = extractor.outcomes((ref for ref in refs if ref.id not in kept), vocabulary, times)
    EXAMPLES_DONE.add(len(kept))
    for ref in refs:
        yield kept[ref.id] if ref.id in kept else next(fresh)


def check_unique(ordered: list[ExampleRef]) -> None:
    """Checks that no id is repeated in refs that are sorted by the order of their ids.

    Raises:
      InputError: one is; the message names both places.
    """
    for one, two in itertools.pairwise(ordered):
        if one.id == two.id:
            raise duplicate_ids([f"{one.id!r} ({one.uri} and {two.uri})"])


def duplicate_ids(repeated: Sequence[str]) -> InputError:
    """The error for ids that are not unique; it names the first few of them."""
    shown = ", ".join(repeated[:_DUPLICATES_SHOWN])
    more = f" and {len(repeated) - _DUPLICATES_SHOWN} more" if len(repeated) > _DUPLICATES_SHOWN else ""
    return InputError(
        f"Expected every example to have a unique id, found repeated: {shown}{more}. Remove the repeated rows, or give "
        f"the manifest an id column."
    )
