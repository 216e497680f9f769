"""What a run would find: the layout of its dataset, and what of it an earlier run has done."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from beam_job.core.labels import names_in
from beam_job.core.metrics import StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.records import Content, ExampleRef, PassedOver
from beam_job.core.sharding import stable_hash
from beam_job.dataset.commit import read_receipt
from beam_job.dataset.labels import FoundLabels
from beam_job.dataset.originals import example_files
from beam_job.extraction.batches import Outcome
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.extractor import Extractor
from beam_job.extraction.layout import DatasetLayout, PieceSummary, Tally, make_layout
from beam_job.extraction.limits import ClassLimits, SmallestHashes
from beam_job.extraction.pieces import (
    PieceWork,
    count_piece,
    known_piece,
    piece_fingerprint,
    piece_key,
    piece_work,
    taken_members,
)
from beam_job.extraction.preparation import Preparation
from beam_job.extraction.shards import duplicate_ids
from beam_job.inputs.base import Container, Listing, all_entries

_SAMPLE = 64


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a run would find.

    Attributes:
      layout: How the dataset would be cut.
      carried_over: Examples whose features, or error rows, an earlier run has already.
      changed: Examples that the earlier run knows in another version.
      retried: Examples that failed in the earlier run and would be tried again.
      removed: Examples that the earlier run knows and that are no longer in the input.
      sample: Extracts the first examples, to be thrown away.
    """

    layout: DatasetLayout
    carried_over: int
    changed: int
    retried: int
    removed: int
    sample: Callable[[Extractor], Iterator[Outcome]]


def survey(run: Preparation) -> Survey:
    """Lists every example of the input.

    Raises:
      InputError: the input has no example, or ids are repeated.
    """
    if run.is_counted:
        run = dataclasses.replace(run, policy=run.policy.with_limits(_limits(run)))
    if isinstance(run.source, Container):
        return _survey_pieces(run, run.source)
    assert isinstance(run.source, Listing)
    return _survey_refs(run, run.source)


def _limits(run: Preparation) -> ClassLimits:
    """What must be counted before examples are taken."""
    counted = SmallestHashes(run.options.source.max_per_class)
    if isinstance(run.source, Container):
        work = piece_work(run, run.source)
        for piece in run.source.pieces():
            counted.merge(count_piece(work, piece))
        return counted.limits(run.policy.labels.name_below)
    assert isinstance(run.source, Listing)
    for ref in _refs(run, run.source):
        counted.add(ref)
    return counted.limits()


def _survey_refs(run: Preparation, source: Listing) -> Survey:
    earlier = run.earlier
    layout = make_layout(
        _tally(run, source),
        run.options.shard,
        run.numbering,
        run.options.source.input,
        earlier.shards if earlier else None,
    )
    known = _Known(run.config, layout.shard_names() if earlier else ())
    if earlier:
        for ref in _refs(run, source):
            known.look_up(ref)
    first = list(itertools.islice(_refs(run, source), _SAMPLE))
    return Survey(
        layout=layout,
        carried_over=known.carried_over,
        changed=known.changed,
        retried=known.retried,
        removed=known.removed,
        sample=lambda extractor: extractor.outcomes(iter(first), layout.vocabulary, StageTimes()),
    )


def _survey_pieces(run: Preparation, source: Container) -> Survey:
    """Reads every container from its start to its end, but not the examples in it where they can be left out."""
    work, tally, earlier = piece_work(run, source), Tally(), run.earlier
    counts: Counter[str] = Counter()
    gone = {key: sum(map(len, _ids_of(run.config, names))) for key, names in work.earlier.items()}
    for number, piece in enumerate(source.pieces()):
        key, before = piece_key(piece), gone.pop(piece_key(piece), 0)
        known = known_piece(run.config, work, piece, piece_fingerprint(run.config, work, piece)) if earlier else None
        if known is not None:
            failed = any(receipt.error_rows for receipt in known.shards.values())
            counts["retried" if run.config.retry_errors and failed else "carried_over"] += before
        else:
            counts["changed"] += before
        examples: Counter[str] = Counter()
        labels: set[str] = set()
        passed_over: Counter[str] = Counter()
        for found in taken_members(work, piece, contents=False):
            if isinstance(found, PassedOver):
                passed_over[found.kind] += 1
                continue
            ref, _ = found
            examples[str(ref.split)] += 1
            labels.update(names_in(ref.label))
        shards = dict.fromkeys(sorted(examples))
        tally.add_piece(PieceSummary(number, key, "", shards, examples, frozenset(labels), passed_over))
    layout = make_layout(tally, run.options.shard, run.numbering, run.options.source.input)
    return Survey(
        layout=layout,
        carried_over=counts["carried_over"],
        changed=counts["changed"],
        retried=counts["retried"],
        removed=sum(gone.values()),
        sample=lambda extractor: _first_outcomes(extractor, work),
    )


def _first_outcomes(extractor: Extractor, work: PieceWork) -> Iterator[Outcome]:
    labels = FoundLabels(work.policy.labels.kind)

    def labelled() -> Iterator[Content]:
        every = itertools.chain.from_iterable(taken_members(work, piece) for piece in work.source.pieces())
        for ref, content in itertools.islice((found for found in every if not isinstance(found, PassedOver)), _SAMPLE):
            labels.add(names_in(ref.label))
            yield ref, content

    return extractor.outcomes_in_order(labelled(), labels, StageTimes())


def _ids_of(config: ExtractionConfig, shards: Iterable[str]) -> Iterator[Collection[str]]:
    """The ids that each of some shards has, as far as they are there."""
    for name in shards:
        with contextlib.suppress(OSError, ValueError):
            yield read_receipt(config.output, ShardName.parse(name)).example_fingerprints


def _refs(run: Preparation, source: Listing) -> Iterator[ExampleRef]:
    """All refs, with their splits."""
    return (entry for entry in _entries(run, source) if isinstance(entry, ExampleRef))


def _entries(run: Preparation, source: Listing) -> Iterator[ExampleRef | PassedOver]:
    """Everything in the input, refs with their splits."""
    for entry in all_entries(source, example_files(run.config.model.modality)):
        yield run.policy.assign(entry) if isinstance(entry, ExampleRef) else entry


def _tally(run: Preparation, source: Listing) -> Tally:
    tally = Tally()
    seen: set[int] = set()
    repeated: list[str] = []
    for entry in _entries(run, source):
        if isinstance(entry, PassedOver):
            tally.passed_over[entry.kind] += 1
            continue
        tally.add(entry)
        if source.ids_unique:
            continue
        key = stable_hash(entry.id)
        if key in seen:
            repeated.append(f"{entry.id!r}")
        seen.add(key)
    if repeated:
        raise duplicate_ids(repeated)
    return tally


class _Known:
    """What the receipts of an earlier run say about each example."""

    def __init__(self, config: ExtractionConfig, shards: Iterable[ShardName]) -> None:
        self._config = config
        self._fingerprints: dict[str, str] = {}
        self._failed: set[str] = set()
        for shard in shards:
            try:
                receipt = read_receipt(config.output, shard)
            except (OSError, ValueError):
                continue
            self._fingerprints.update(receipt.example_fingerprints)
            self._failed.update(row.id for row in receipt.error_rows)
        self.removed = len(self._fingerprints)
        self.carried_over = self.changed = self.retried = 0

    def look_up(self, ref: ExampleRef) -> None:
        """Counts a ref as what it is."""
        fingerprint = self._fingerprints.get(ref.id)
        if fingerprint is None:
            return
        self.removed -= 1
        if fingerprint != self._config.fingerprint_of(ref):
            self.changed += 1
        elif self._config.retry_errors and ref.id in self._failed:
            self.retried += 1
        else:
            self.carried_over += 1
