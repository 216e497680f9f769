"""Beam transforms: wiring only. What each step does is a function elsewhere that runs without Beam."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_job.beam import blocks
from beam_job.core import naming
from beam_job.core.metrics import NAMESPACE, STAGES, StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.options import DEFAULT_MODEL, DecodeOptions, EngineOptions, ModelOptions, ShardOptions, WorkOptions
from beam_job.core.records import Failure, FeatureRecord, ImageRef, ShardReceipt
from beam_job.core.sharding import stable_hash
from beam_job.dataset import target
from beam_job.dataset.labels import LabelVocabulary
from beam_job.engines.base import load_engine
from beam_job.engines.selection import choose_engine
from beam_job.extract import finalisation
from beam_job.extract.extractor import ExtractionConfig, Extractor, duplicate_ids, make_config
from beam_job.extract.finalisation import RunDescription
from beam_job.extract.layout import DatasetPlan, SplitPolicy, Tally, make_plan
from beam_job.inputs.base import Source
from beam_job.models.spec import describe_model
from beam_job.runtime import storage
from beam_job.runtime.threadmap import batched

# Shards under way at once per DoFn instance: while one drains, the next has begun, and the cores stay busy.
SHARDS_IN_FLIGHT = 2
# Parts that the search for repeated ids is cut into: as many may be searched at once, one at a time is held in memory.
_ID_BUCKETS = 256
_COUNTED = ("images", "records", "errors", "shards", "retries")


@dataclasses.dataclass
class ListImages(beam.PTransform):  # type: ignore[misc]
    """Lists a source in the workers, its units side by side, and gives every ref a split."""

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
            | "List refs" >> beam.FlatMap(_ref_blocks, self.source, self.splits).with_output_types(bytes)
            # block of ImageRef with splits
        )


@dataclasses.dataclass
class PlanShards(beam.PTransform):  # type: ignore[misc]
    """Blocks of refs -> one DatasetPlan, once it is certain that the run can go ahead."""

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
                | "Sort by id" >> beam.ParDo(_SortByIdFn())
                # (bucket of ids, block of ImageRef)
                | "Gather ids" >> beam.GroupByKey()
                # (bucket of ids, [block of ImageRef])
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
    """Blocks of refs, and the plan -> a receipt for each shard, all committed."""

    config: ExtractionConfig
    shared: Shared
    plan: Any

    def expand(self, refs: Any) -> Any:
        plan = beam.pvalue.AsSingleton(self.plan)
        sorted_blocks = refs | "Sort by shard" >> beam.ParDo(_SortByShardFn(), plan)
        # One block more for each shard, with no ref, so that a shard without images is written too.
        empty = self.plan | "All shards" >> beam.FlatMap(_empty_blocks).with_output_types(tuple[str, bytes])
        return (
            (sorted_blocks, empty)
            | "Refs and shards" >> beam.Flatten()
            # (shard file name, block of ImageRef)
            | "Gather shards" >> beam.GroupByKey()
            # (shard file name, [block of ImageRef])
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


def _ref_blocks(unit: str, source: Source, splits: SplitPolicy) -> Iterator[bytes]:
    return map(blocks.pack, batched(map(splits.assign, source.refs(unit)), blocks.BLOCK_REFS))


def _repeated(entry: tuple[int, Iterable[bytes]]) -> Iterator[str]:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for block in entry[1]:
        for ref in blocks.unpack(block):
            places[ref.id].append(ref.uri)
    for image_id, uris in places.items():
        if len(uris) > 1:
            yield f"{image_id!r} ({len(uris)} times: {', '.join(sorted(set(uris))[:2])})"


def _empty_blocks(plan: DatasetPlan) -> Iterator[tuple[str, bytes]]:
    return ((shard.file_name, blocks.pack([])) for shard in plan.shard_names())


def _in_global_window(value: Any) -> WindowedValue:
    window = GlobalWindow()
    return WindowedValue(value, window.max_timestamp(), [window])


def _name_and_fingerprint(receipt: ShardReceipt) -> tuple[str, str]:
    return receipt.shard, receipt.fingerprint


def _finalise(plan: DatasetPlan, output: str, run: RunDescription, fingerprints: Mapping[str, str]) -> None:
    with target.writing(output, "The metadata"):
        finalisation.finalise(output, plan, run, fingerprints)


class _TallyFn(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> Tally:
        return Tally()

    def add_input(self, tally: Tally, block: bytes) -> Tally:
        for ref in blocks.unpack(block):
            tally.add(ref)
        return tally

    def merge_accumulators(self, tallies: Iterable[Tally]) -> Tally:
        total = Tally()
        for tally in tallies:
            total.merge(tally)
        return total

    def extract_output(self, tally: Tally) -> Tally:
        return tally


class _SortFn(beam.DoFn):  # type: ignore[misc]
    """Blocks of refs -> keys, and blocks of the refs that have them."""

    def start_bundle(self) -> None:
        self._sorter: blocks.Sorter[Any] = blocks.Sorter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        return map(_in_global_window, self._sorter.rest())


class _SortByIdFn(_SortFn):
    def process(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        return self._sorter.add(blocks.unpack(block), lambda ref: stable_hash(ref.id, "bucket") % _ID_BUCKETS)


class _SortByShardFn(_SortFn):
    def process(self, block: bytes, plan: DatasetPlan) -> Iterator[tuple[str, bytes]]:
        return self._sorter.add(blocks.unpack(block), lambda ref: plan.shard_of(ref).file_name)


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

    def process(self, element: tuple[str, Iterable[bytes]], plan: DatasetPlan) -> Iterator[ShardReceipt]:
        name, its_blocks = element
        while len(self._pending) >= SHARDS_IN_FLIGHT:
            yield self._next_receipt()
        shard, refs = ShardName.parse(name), [ref for block in its_blocks for ref in blocks.unpack(block)]
        self._pending.append(self._drivers.submit(self._extractor.extract_shard, shard, refs, plan.vocabulary))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._pending:
            yield _in_global_window(self._next_receipt())

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
