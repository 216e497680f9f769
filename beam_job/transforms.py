"""Beam transforms: wiring only. What each step does is a function elsewhere that runs without Beam."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder, registry
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_job import finalisation, naming, storage, target
from beam_job.engines import choose_engine, load_engine
from beam_job.extraction import ExtractionConfig, Extractor, duplicate_ids, make_config
from beam_job.finalisation import RunDescription
from beam_job.labels import LabelVocabulary
from beam_job.metrics import NAMESPACE, STAGES, StageTimes
from beam_job.models import describe_model
from beam_job.naming import ShardName
from beam_job.options import DEFAULT_MODEL, DecodeOptions, EngineOptions, ModelOptions, ShardOptions, WorkOptions
from beam_job.planning import DatasetPlan, SplitPolicy, Tally, make_plan
from beam_job.records import Failure, FeatureRecord, ImageRef, ShardReceipt
from beam_job.sources import Source

# Shards under way at once per DoFn instance: while one drains, the next has begun, and the cores stay busy.
SHARDS_IN_FLIGHT = 2
_COUNTED = ("images", "records", "errors", "shards", "retries")


class ImageRefCoder(Coder):  # type: ignore[misc]
    """Refs as compact JSON, ASCII, so that names which are not UTF-8 pass."""

    def encode(self, value: ImageRef) -> bytes:
        fields = (value.id, value.uri, value.label, value.split, value.group, value.version, value.problem)
        return json.dumps(fields, separators=(",", ":")).encode("ascii")

    def decode(self, encoded: bytes) -> ImageRef:
        return ImageRef(*json.loads(encoded))

    def is_deterministic(self) -> bool:
        return True


registry.register_coder(ImageRef, ImageRefCoder)


@dataclasses.dataclass
class ListImages(beam.PTransform):  # type: ignore[misc]
    """Lists a source in the workers, its units side by side."""

    source: Source
    splits: SplitPolicy

    def expand(self, pbegin: Any) -> Any:
        return (
            pbegin
            | "Start listing" >> beam.Impulse()
            # bytes
            | "List units" >> beam.FlatMap(_units, self.source)
            # str
            | "Spread units" >> beam.Reshuffle()
            | "List refs" >> beam.FlatMap(_refs, self.source).with_output_types(ImageRef)
            # ImageRef
            | "Assign splits" >> beam.Map(self.splits.assign).with_output_types(ImageRef)
        )


@dataclasses.dataclass
class PlanShards(beam.PTransform):  # type: ignore[misc]
    """Refs with splits -> one DatasetPlan, once it is certain that the run can go ahead."""

    options: ShardOptions
    vocabulary: LabelVocabulary | None
    source: str
    ids_unique: bool
    output: str
    earlier_shards: Mapping[str, int]

    def expand(self, refs: Any) -> Any:
        duplicates = refs.pipeline | "No duplicates" >> beam.Create([]).with_output_types(str)
        if not self.ids_unique:
            duplicates = (
                refs
                | "Key by id" >> beam.Map(_id_and_uri).with_output_types(tuple[str, str])
                # (id, uri)
                | "Gather ids" >> beam.GroupByKey()
                | "Find repeated ids" >> beam.FlatMap(_repeated).with_output_types(str)
                # str: the id and where it occurs
            )
        return (
            refs
            | "Tally refs" >> beam.CombineGlobally(_TallyFn())
            # Tally
            | "Make plan"
            >> beam.ParDo(
                _MakePlanFn(self.options, self.vocabulary, self.source, self.output, self.earlier_shards),
                beam.pvalue.AsIter(duplicates),
            )
            # DatasetPlan
        )


@dataclasses.dataclass
class ExtractShards(beam.PTransform):  # type: ignore[misc]
    """Refs with splits, and the plan -> a receipt for each shard, all committed."""

    config: ExtractionConfig
    shared: Shared
    plan: Any

    def expand(self, refs: Any) -> Any:
        plan = beam.pvalue.AsSingleton(self.plan)
        keyed = refs | "Assign shards" >> beam.Map(_shard_and_ref, plan).with_output_types(
            tuple[str, ImageRef | None]  # None: a shard's own mark, so that one without images is written too
        )
        marks = self.plan | "All shards" >> beam.FlatMap(_shard_marks).with_output_types(tuple[str, ImageRef | None])
        return (
            (keyed, marks)
            | "Refs and shards" >> beam.Flatten()
            # (shard file name, ImageRef or None)
            | "Gather shards" >> beam.GroupByKey()
            # (shard file name, [ImageRef or None])
            | "Extract shards" >> beam.ParDo(_ExtractShardsFn(self.config, self.shared), plan)
            # ShardReceipt
        )


@dataclasses.dataclass
class FinaliseDataset(beam.PTransform):  # type: ignore[misc]
    """Receipts -> metadata, error rows, run.json and _SUCCESS, once they are all there."""

    output: str
    run: RunDescription
    plan: Any

    def expand(self, receipts: Any) -> Any:
        fingerprints = receipts | "Fingerprints" >> beam.Map(_name_and_fingerprint)
        # (shard file name, fingerprint)
        return self.plan | "Write metadata" >> beam.Map(
            _finalise, self.output, self.run, beam.pvalue.AsDict(fingerprints)
        )


@dataclasses.dataclass
class ExtractFeatures(beam.PTransform):  # type: ignore[misc]
    """For pipelines of your own: refs, or pairs of an id and an image's bytes -> feature records, and errors.

    The two results together have an element for every element that went in:

        features, errors = pipeline | beam.Create([("cat.jpg", data)]) | beam_job.ExtractFeatures()

    Attributes:
      model: The model and what it does not say of itself; a handle alone will often do.
      engine: What runs it; ``auto`` is TensorFlow as long as ``extract`` has not compared the engines on this machine.
      decode: How bytes become pixels.
      work: Batch size and threads.
      labels: The label vocabulary, for refs with labels.
    """

    model: ModelOptions | str = DEFAULT_MODEL
    engine: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    decode: DecodeOptions = dataclasses.field(default_factory=DecodeOptions)
    work: WorkOptions = dataclasses.field(default_factory=WorkOptions)
    labels: Sequence[str] = ()

    def expand(self, images: Any) -> Any:
        model = ModelOptions(model=self.model) if isinstance(self.model, str) else self.model
        spec = describe_model(model)
        engine = choose_engine(spec, self.engine.engine, self.engine.precision, self.work.batch_size, list)
        config = make_config(spec, engine, self.decode, self.work)
        return (
            images
            # ImageRef or (id, bytes)
            | "Batch images" >> beam.BatchElements(config.batch_size, config.batch_size)
            # [ImageRef or (id, bytes)]
            | "Extract batches"
            >> beam.ParDo(_ExtractBatchFn(config, Shared(), LabelVocabulary(tuple(self.labels)))).with_outputs(
                "errors", main="features"
            )
            # features: FeatureRecord; errors: Failure
        )


def _units(_: bytes, source: Source) -> Iterator[str]:
    return source.units()


def _refs(unit: str, source: Source) -> Iterator[ImageRef]:
    return source.refs(unit)


def _id_and_uri(ref: ImageRef) -> tuple[str, str]:
    return ref.id, ref.uri


def _repeated(entry: tuple[str, Iterable[str]]) -> Iterator[str]:
    image_id, uris = entry
    places = sorted(uris)
    if len(places) > 1:
        yield f"{image_id!r} ({len(places)} times: {', '.join(sorted(set(places))[:2])})"


def _shard_and_ref(ref: ImageRef, plan: DatasetPlan) -> tuple[str, ImageRef]:
    return plan.shard_of(ref).file_name, ref


def _shard_marks(plan: DatasetPlan) -> Iterator[tuple[str, None]]:
    return ((shard.file_name, None) for shard in plan.shard_names())


def _name_and_fingerprint(receipt: ShardReceipt) -> tuple[str, str]:
    return receipt.shard, receipt.fingerprint


def _finalise(plan: DatasetPlan, output: str, run: RunDescription, fingerprints: Mapping[str, str]) -> None:
    with target.writing(output, "The metadata"):
        finalisation.finalise(output, plan, run, fingerprints)


class _TallyFn(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> Tally:
        return Tally()

    def add_input(self, tally: Tally, ref: ImageRef) -> Tally:
        tally.add(ref)
        return tally

    def merge_accumulators(self, tallies: Iterable[Tally]) -> Tally:
        total = Tally()
        for tally in tallies:
            total.merge(tally)
        return total

    def extract_output(self, tally: Tally) -> Tally:
        return tally


class _MakePlanFn(beam.DoFn):  # type: ignore[misc]
    def __init__(
        self,
        options: ShardOptions,
        vocabulary: LabelVocabulary | None,
        source: str,
        output: str,
        earlier_shards: Mapping[str, int],
    ) -> None:
        self._options, self._vocabulary, self._source, self._output = options, vocabulary, source, output
        self._earlier_shards = earlier_shards

    def process(self, tally: Tally, duplicates: Iterable[str]) -> Iterator[DatasetPlan]:
        if repeated := sorted(duplicates):
            raise duplicate_ids(repeated)
        plan = make_plan(tally, self._options, self._vocabulary, self._source, self._earlier_shards)
        with target.writing(self._output, naming.PLAN):
            storage.write_bytes(storage.join(self._output, naming.PLAN), json.dumps(plan.to_json()).encode())
        yield plan


def new_extractor(config: ExtractionConfig) -> Extractor:
    """An extractor with its model loaded."""
    return Extractor(config, load_engine(config.engine, config.model, config.batch_size, config.threads))


class _ModelFn(beam.DoFn):  # type: ignore[misc]
    """Holds the process's extractor; the first DoFn of a process to be set up loads the model, the others share it."""

    def __init__(self, config: ExtractionConfig, shared: Shared) -> None:
        self._config, self._shared = config, shared
        self._loaded = False
        self._model_loads = Metrics.counter(NAMESPACE, "model_loads")

    def setup(self) -> None:
        self._extractor: Extractor = self._shared.acquire(self._load)

    def _load(self) -> Extractor:
        self._loaded = True
        return new_extractor(self._config)

    def start_bundle(self) -> None:
        if self._loaded:
            self._loaded = False
            self._model_loads.inc()


class _ExtractShardsFn(_ModelFn):
    """Extracts shards, a few at a time, so that the cores have work while one shard ends and the next begins."""

    def __init__(self, config: ExtractionConfig, shared: Shared) -> None:
        super().__init__(config, shared)
        self._counters = {name: Metrics.counter(NAMESPACE, name) for name in _COUNTED}
        self._times = {stage: Metrics.counter(NAMESPACE, f"{stage}_milliseconds") for stage in STAGES}

    def setup(self) -> None:
        super().setup()
        self._drivers = ThreadPoolExecutor(SHARDS_IN_FLIGHT, "beam-job-shard")
        self._pending: deque[Future[ShardReceipt]] = deque()

    def process(self, element: tuple[str, Iterable[ImageRef | None]], plan: DatasetPlan) -> Iterator[ShardReceipt]:
        name, refs = element
        while len(self._pending) >= SHARDS_IN_FLIGHT:
            yield self._next_receipt()
        shard, images = ShardName.parse(name), [ref for ref in refs if ref is not None]
        self._pending.append(self._drivers.submit(self._extractor.extract_shard, shard, images, plan.vocabulary))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        while self._pending:
            yield WindowedValue(self._next_receipt(), window.max_timestamp(), [window])

    def teardown(self) -> None:
        self._drivers.shutdown(cancel_futures=True)

    def _next_receipt(self) -> ShardReceipt:
        try:
            receipt = self._pending.popleft().result()
        except BaseException:
            while self._pending:
                self._pending.pop().cancel()
            raise
        counts = {
            "images": receipt.images,
            "records": receipt.records,
            "errors": len(receipt.failures),
            "shards": 1,
            "retries": int(receipt.timings["retries"]),
        }
        for name, count in counts.items():
            self._counters[name].inc(count)
        for stage in STAGES:
            self._times[stage].inc(round(receipt.timings[stage] * 1000))
        return receipt


class _ExtractBatchFn(_ModelFn):
    def __init__(self, config: ExtractionConfig, shared: Shared, vocabulary: LabelVocabulary) -> None:
        super().__init__(config, shared)
        self._vocabulary = vocabulary

    def process(self, batch: list[ImageRef | tuple[str, bytes]]) -> Iterator[Any]:
        outcomes: Iterable[FeatureRecord | Failure] = self._extractor.extract_batch(
            batch, self._vocabulary, StageTimes()
        )
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                yield beam.pvalue.TaggedOutput("errors", outcome)
            else:
                yield outcome
