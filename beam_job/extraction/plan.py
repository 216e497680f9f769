"""``beam-job plan``: what a run would do, without doing it. Lists the refs, and extracts a few for the rate."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from beam_job.core.metrics import StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.records import ExampleRef, FeatureRecord, PassedOver, Shape
from beam_job.core.sharding import stable_hash
from beam_job.dataset.commit import read_receipt
from beam_job.dataset.labels import LabelVocabulary
from beam_job.dataset.originals import example_files
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.extractor import Extractor
from beam_job.extraction.layout import DatasetLayout, SplitPolicy, Tally, make_layout
from beam_job.extraction.notes import all_notes
from beam_job.extraction.preparation import Preparation
from beam_job.extraction.shards import duplicate_ids
from beam_job.inputs.base import all_entries
from beam_job.outputs.base import RecordSchema, file_bytes
from beam_job.outputs.registry import SHARD_FORMATS

_SAMPLE = 64


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
      examples: Split name to number of examples.
      shards: Split name to number of shards.
      classes: Number of labels.
      passed_over: Kind to number of the input's files that are no examples.
      notes: What else there is to know of the input.
      model: The model's identity, as in run.json.
      features: Feature name to the shape for one example.
      engine: The engine that would run the model, as in run.json.
      carried_over: Examples whose features, or error rows, an earlier run at the output has already.
      changed: Examples that the earlier run knows in another version.
      retried: Examples that failed in the earlier run and would be tried again.
      removed: Examples that the earlier run knows and that are no longer in the input.
      examples_per_second: On this machine, including reading, from the first examples; None when none gives features.
      seconds: For the examples that would be extracted, at that rate; None likewise.
      output_bytes: The size of the shards; None likewise.
    """

    examples: Mapping[str, int]
    shards: Mapping[str, int]
    classes: int
    passed_over: Mapping[str, int]
    notes: Sequence[str]
    model: Mapping[str, Any]
    features: Mapping[str, Shape]
    engine: Mapping[str, Any]
    carried_over: int
    changed: int
    retried: int
    removed: int
    examples_per_second: float | None
    seconds: float | None
    output_bytes: int | None

    @property
    def total(self) -> int:
        """Examples in all splits."""
        return sum(self.examples.values())

    @property
    def to_extract(self) -> int:
        """Examples that would be read, decoded and run through the model."""
        return self.total - self.carried_over


def make_plan(run: Preparation, extractor: Extractor) -> Plan:
    """Lists every ref, twice if a run is resumed, and extracts a few examples.

    Args:
      run: The run that would be started.
      extractor: What would do the work.

    Raises:
      InputError: the input has no example, or ids are repeated.
    """
    config, earlier = run.config, run.earlier
    layout = make_layout(
        _tally(run), run.options.shard, run.vocabulary, run.options.source.input, earlier.shards if earlier else None
    )
    known = _Known(config, layout.shard_names() if earlier else ())
    if earlier:
        for ref in _refs(run):
            known.look_up(ref)
    rate, size = _measure(extractor, layout, itertools.islice(_refs(run), _SAMPLE))
    return Plan(
        examples=layout.examples,
        shards=layout.shards,
        classes=len(layout.vocabulary.names),
        passed_over=layout.passed_over,
        notes=all_notes(run.notes, layout, config.model.modality.extras),
        model=config.model.to_json(),
        features=config.model.outputs,
        engine=config.engine.to_json(),
        carried_over=known.carried_over,
        changed=known.changed,
        retried=known.retried,
        removed=known.removed,
        examples_per_second=rate,
        seconds=(layout.total - known.carried_over) / rate if rate else None,
        output_bytes=round(layout.total * size) if size else None,
    )


def _refs(run: Preparation) -> Iterator[ExampleRef]:
    """All refs, with their splits."""
    return (entry for entry in _entries(run) if isinstance(entry, ExampleRef))


def _entries(run: Preparation) -> Iterator[ExampleRef | PassedOver]:
    """Everything in the input, refs with their splits."""
    source = run.options.source
    policy = SplitPolicy(source.splits, source.split_seed)
    for entry in all_entries(run.source, example_files(run.config.model.modality)):
        yield policy.assign(entry) if isinstance(entry, ExampleRef) else entry


def _tally(run: Preparation) -> Tally:
    tally = Tally()
    seen: set[int] = set()
    repeated: list[str] = []
    for entry in _entries(run):
        if isinstance(entry, PassedOver):
            tally.passed_over[entry.kind] += 1
            continue
        tally.add(entry)
        if run.source.ids_unique:
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


def _measure(
    extractor: Extractor, layout: DatasetLayout, refs: Iterable[ExampleRef]
) -> tuple[float | None, float | None]:
    """Examples per second, and bytes per record in all formats, from examples that are extracted and thrown away."""
    sample = list(refs)
    records = [
        outcome for outcome in _outcomes(extractor, sample, layout.vocabulary) if isinstance(outcome, FeatureRecord)
    ]
    if not records:
        return None, None
    start = time.perf_counter()
    for _ in _outcomes(extractor, sample, layout.vocabulary):
        pass
    rate = len(sample) / (time.perf_counter() - start)
    schema = RecordSchema(extractor.config.model.outputs, layout.vocabulary.names)
    size = sum(file_bytes(SHARD_FORMATS.get(name), records, schema) for name in extractor.config.formats)
    return rate, size / len(records)


def _outcomes(extractor: Extractor, sample: list[ExampleRef], vocabulary: LabelVocabulary) -> Iterator[Any]:
    return extractor.outcomes(iter(sample), vocabulary, StageTimes())
