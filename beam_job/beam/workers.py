"""The DoFns that hold the model: one load per worker process, a few shards at a time."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_job.beam import blocks
from beam_job.core.metrics import NAMESPACE, STAGES
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, ExampleRef, Piece, ShardReceipt
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.extractor import Extractor, new_extractor
from beam_job.extraction.layout import DatasetLayout, PieceSummary
from beam_job.extraction.limits import ClassLimits
from beam_job.extraction.pieces import PieceWork, extract_piece
from beam_job.extraction.shards import extract_shard

# Concurrent shards or pieces per DoFn instance: while one ends, the next has begun, and the cores stay busy.
UNITS_IN_FLIGHT = 2
_COUNTED = ("examples", "records", "errors", "shards", "retries")
R = TypeVar("R")
logger = logging.getLogger(__name__)


class _ModelFn(beam.DoFn):  # type: ignore[misc]
    """Holds the process's extractor: the first DoFn that is set up loads the model, the others share it."""

    def __init__(self, config: ExtractionConfig, shared: Shared) -> None:
        self._config, self._shared = config, shared
        self._loaded = False
        self._model_loads = Metrics.counter(NAMESPACE, "model_loads")

    def setup(self) -> None:
        self._extractor: Extractor = self._shared.acquire(self._load)

    def _load(self) -> Extractor:
        start, config = time.perf_counter(), self._config
        self._loaded = True
        extractor = new_extractor(config)
        logger.info(
            "model %s loaded in %.1f s: engine %s in %s, %d threads, batches of %d",
            config.model.handle,
            time.perf_counter() - start,
            config.engine.name,
            config.engine.precision,
            config.threads,
            config.batch_size,
        )
        return extractor

    def start_bundle(self) -> None:
        if self._loaded:
            self._loaded = False
            self._model_loads.inc()


class _UnitsFn(_ModelFn, Generic[R]):
    """Works on units, a few at a time, so that the cores have work while one ends and the next begins."""

    def __init__(self, config: ExtractionConfig, shared: Shared) -> None:
        super().__init__(config, shared)
        self._counters = {name: Metrics.counter(NAMESPACE, name) for name in _COUNTED}
        self._times = {stage: Metrics.counter(NAMESPACE, f"{stage}_milliseconds") for stage in STAGES}

    def setup(self) -> None:
        super().setup()
        self._drivers = ThreadPoolExecutor(UNITS_IN_FLIGHT, "beam-job-unit")
        self._pending: deque[Future[tuple[R, Sequence[ShardReceipt]]]] = deque()

    def begin(self, work: Callable[..., tuple[R, Sequence[ShardReceipt]]], *arguments: Any) -> Iterator[R]:
        """Begins a unit, which gives a result and receipts to be counted; yields results for which it must wait."""
        while len(self._pending) >= UNITS_IN_FLIGHT:
            yield self._next()
        self._pending.append(self._drivers.submit(work, self._extractor, *arguments))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        while self._pending:
            yield WindowedValue(self._next(), window.max_timestamp(), [window])

    def teardown(self) -> None:
        self._drivers.shutdown(cancel_futures=True)

    def _next(self) -> R:
        try:
            result, receipts = self._pending.popleft().result()
        except BaseException:
            while self._pending:
                self._pending.pop().cancel()
            raise
        for receipt in receipts:
            self._count(receipt)
        return result

    def _count(self, receipt: ShardReceipt) -> None:
        counts = {
            "examples": receipt.examples,
            "records": receipt.records,
            "errors": len(receipt.error_rows),
            "shards": 1,
            "retries": int(receipt.timings["retries"]),
        }
        for name, count in counts.items():
            self._counters[name].inc(count)
        for stage in STAGES:
            self._times[stage].inc(round(receipt.timings[stage] * 1000))


class ExtractShardsFn(_UnitsFn[ShardReceipt]):
    """Extracts shards by hash: all refs of a shard in, its receipt out."""

    def process(self, element: tuple[str, Iterable[bytes]], layout: DatasetLayout) -> Iterator[ShardReceipt]:
        name, its_blocks = element
        refs = [ref for block in its_blocks for ref in blocks.unpack(block)]
        return self.begin(_shard, ShardName.parse(name), refs, layout.vocabulary)


def _shard(*arguments: Any) -> tuple[ShardReceipt, Sequence[ShardReceipt]]:
    receipt = extract_shard(*arguments)
    return receipt, [receipt]


class ExtractPiecesFn(_UnitsFn[PieceSummary]):
    """Extracts pieces of containers: a piece with its number in, its summary out."""

    def __init__(self, config: ExtractionConfig, shared: Shared, work: PieceWork) -> None:
        super().__init__(config, shared)
        self._work = work

    def process(self, element: tuple[int, Piece], limits: ClassLimits | None = None) -> Iterator[PieceSummary]:
        work = dataclasses.replace(self._work, policy=self._work.policy.with_limits(limits))
        return self.begin(extract_piece, work, *element)


class ExtractBatchFn(_ModelFn):
    """Extracts batches for a pipeline of the user's own: records, and error rows under the tag ``errors``."""

    def __init__(self, config: ExtractionConfig, shared: Shared, vocabulary: LabelVocabulary) -> None:
        super().__init__(config, shared)
        self._vocabulary = vocabulary

    def process(self, batch: list[ExampleRef | tuple[str, bytes]]) -> Iterator[Any]:
        for outcome in self._extractor.extract_batch(batch, self._vocabulary):
            yield beam.pvalue.TaggedOutput("errors", outcome) if isinstance(outcome, ErrorRow) else outcome
