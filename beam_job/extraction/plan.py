"""``beam-job plan``: what a run would do, without doing it. Lists the refs, and extracts a few for the rate."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from beam_job.core.records import FeatureRecord, Shape
from beam_job.extraction.extractor import Extractor
from beam_job.extraction.notes import all_notes
from beam_job.extraction.preparation import Preparation
from beam_job.extraction.survey import Survey, survey
from beam_job.outputs.base import file_bytes
from beam_job.outputs.registry import SHARD_FORMATS


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
    """Lists every example, twice if a run is resumed, and extracts a few.

    Args:
      run: The run that would be started.
      extractor: What would do the work.

    Raises:
      InputError: the input has no example, or ids are repeated.
    """
    config, found = run.config, survey(run)
    layout = found.layout
    rate, size = _measure(extractor, found)
    return Plan(
        examples=layout.examples,
        shards=layout.shards,
        classes=len(layout.vocabulary.names),
        passed_over=layout.passed_over,
        notes=all_notes(run.notes, layout, config.model.modality.extras),
        model=config.model.to_json(),
        features=config.model.outputs,
        engine=config.engine.to_json(),
        carried_over=found.carried_over,
        changed=found.changed,
        retried=found.retried,
        removed=found.removed,
        examples_per_second=rate,
        seconds=(layout.total - found.carried_over) / rate if rate else None,
        output_bytes=round(layout.total * size) if size else None,
    )


def _measure(extractor: Extractor, found: Survey) -> tuple[float | None, float | None]:
    """Examples per second, and bytes per record in all formats, from examples that are extracted and thrown away."""
    outcomes = list(found.sample(extractor))
    records = [outcome for outcome in outcomes if isinstance(outcome, FeatureRecord)]
    if not records:
        return None, None
    start = time.perf_counter()
    for _ in found.sample(extractor):
        pass
    rate = len(outcomes) / (time.perf_counter() - start)
    schema = extractor.config.schema(found.layout.vocabulary.names)
    size = sum(file_bytes(SHARD_FORMATS.get(name), records, schema) for name in extractor.config.formats)
    return rate, size / len(records)
