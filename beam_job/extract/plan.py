"""What a run would do, before anybody pays for it: a plain loop over the refs, and a few images for the speed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from beam_job.core.metrics import StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.options import ExtractOptions
from beam_job.core.records import FeatureRecord, ImageRef
from beam_job.core.sharding import stable_hash
from beam_job.dataset.commit import image_fingerprint, read_receipt
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extract.extractor import ExtractionConfig, Extractor, duplicate_ids
from beam_job.extract.layout import SplitPolicy, Tally, make_plan
from beam_job.extract.resumption import EarlierRun
from beam_job.inputs.base import Source, all_refs
from beam_job.outputs.tfrecord.examples import pack_example
from beam_job.outputs.tfrecord.framing import frame

_SAMPLE = 64


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes:
      images: Split name to number of images.
      shards: Split name to number of shards.
      classes: Number of labels.
      model: The model's identity, as in run.json.
      features: Feature name to the shape for one image.
      engine: What would run it, as in run.json.
      carried_over: Images whose features, or error rows, an earlier run at the output has already.
      changed: Images that it knows in another version.
      retried: Images that failed in it and would be tried again.
      removed: Images that it knows and the input has no more.
      images_per_second: On this machine, reading included, from the first images; None when none gives features.
      seconds: For the images that would be extracted, at that rate; None likewise.
      output_bytes: What the shards would take; None likewise.
    """

    images: Mapping[str, int]
    shards: Mapping[str, int]
    classes: int
    model: Mapping[str, Any]
    features: Mapping[str, tuple[int, ...]]
    engine: Mapping[str, Any]
    carried_over: int
    changed: int
    retried: int
    removed: int
    images_per_second: float | None
    seconds: float | None
    output_bytes: int | None

    @property
    def total(self) -> int:
        """Images in all splits."""
        return sum(self.images.values())

    @property
    def to_extract(self) -> int:
        """Images that would be read, decoded and run through the model."""
        return self.total - self.carried_over


def forecast(
    options: ExtractOptions,
    config: ExtractionConfig,
    source: Source,
    vocabulary: LabelVocabulary | None,
    extractor: Extractor,
    earlier: EarlierRun | None,
) -> Forecast:
    """Looks at every ref twice, and at a few images.

    Args:
      options: What the user says.
      config: What would be done to each image, with the shapes of the features.
      source: The input.
      vocabulary: The labels, if the user gave them.
      extractor: What would do the work.
      earlier: The run that would be gone on with.

    Raises:
      InputError: there is no image, or ids repeat.
    """
    splits = SplitPolicy(options.source.splits, options.source.split_seed)
    tally = _tally(source, splits)
    plan = make_plan(tally, options.shard, vocabulary, options.source.input, earlier.shards if earlier else None)
    known = _Known(config, plan.shard_names() if earlier else ())
    if earlier:
        for ref in all_refs(source):
            known.look_up(splits.assign(ref))
    rate, size = _measure(extractor, itertools.islice(all_refs(source), _SAMPLE), plan.vocabulary)
    return Forecast(
        images=plan.images,
        shards=plan.shards,
        classes=len(plan.vocabulary.names),
        model=config.model.to_json(),
        features=config.model.outputs,
        engine=config.engine.to_json(),
        carried_over=known.carried_over,
        changed=known.changed,
        retried=known.retried,
        removed=known.removed,
        images_per_second=rate,
        seconds=(plan.total - known.carried_over) / rate if rate else None,
        output_bytes=round(plan.total * size) if size else None,
    )


def _tally(source: Source, splits: SplitPolicy) -> Tally:
    tally = Tally()
    seen: set[int] = set()
    repeated: list[str] = []
    for ref in all_refs(source):
        tally.add(splits.assign(ref))
        if source.ids_unique:
            continue
        key = stable_hash(ref.id)
        if key in seen:
            repeated.append(f"{ref.id!r}")
        seen.add(key)
    if repeated:
        raise duplicate_ids(repeated)
    return tally


class _Known:
    """What the receipts of an earlier run say of each image."""

    def __init__(self, config: ExtractionConfig, shards: Iterable[ShardName]) -> None:
        self._config = config
        self._versions: dict[str, str] = {}
        self._failed: set[str] = set()
        for shard in shards:
            try:
                receipt = read_receipt(config.output, shard)
            except (OSError, ValueError):
                continue
            self._versions.update(receipt.versions)
            self._failed.update(failure.id for failure in receipt.failures)
        self.removed = len(self._versions)
        self.carried_over = self.changed = self.retried = 0

    def look_up(self, ref: ImageRef) -> None:
        """Counts a ref as what it is."""
        version = self._versions.get(ref.id)
        if version is None:
            return
        self.removed -= 1
        if version != image_fingerprint(self._config.identity_digest, ref):
            self.changed += 1
        elif self._config.retry_errors and ref.id in self._failed:
            self.retried += 1
        else:
            self.carried_over += 1


def _measure(
    extractor: Extractor, refs: Iterable[ImageRef], vocabulary: LabelVocabulary
) -> tuple[float | None, float | None]:
    """Images per second, and bytes of a record, from images that are extracted and thrown away."""
    sample = list(refs)
    found = [
        outcome
        for outcome in extractor.outcomes(iter(sample), vocabulary, StageTimes())
        if isinstance(outcome, FeatureRecord)
    ]
    if not found:
        return None, None
    start = time.perf_counter()
    for _ in extractor.outcomes(iter(sample), vocabulary, StageTimes()):
        pass
    rate = len(sample) / (time.perf_counter() - start)
    return rate, sum(len(frame(pack_example(record))) for record in found) / len(found)
