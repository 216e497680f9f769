"""The DoFns that hold the model: one load per worker process, a few shards at a time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_job.beam import blocks
from beam_job.core.metrics import NAMESPACE, STAGES
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, ExampleRef, ShardReceipt
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.extractor import Extractor, new_extractor
from beam_job.extraction.layout import DatasetLayout
from beam_job.extraction.shards import extract_shard

# Concurrent shards per DoFn instance: while one ends, the next has begun, and the cores stay busy.
SHARDS_IN_FLIGHT = 2
_COUNTED = ("examples", "records", "errors", "shards", "retries")
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


class ExtractShardsFn(_ModelFn):
    """Extracts shards, a few at a time, so that the cores have work while one shard ends and the next begins."""

    def __init__(self, config: ExtractionConfig, shared: Shared) -> None:
        super().__init__(config, shared)
        self._counters = {name: Metrics.counter(NAMESPACE, name) for name in _COUNTED}
        self._times = {stage: Metrics.counter(NAMESPACE, f"{stage}_milliseconds") for stage in STAGES}

    def setup(self) -> None:
        super().setup()
        self._drivers = ThreadPoolExecutor(SHARDS_IN_FLIGHT, "beam-job-shard")
        self._pending: deque[Future[ShardReceipt]] = deque()

    def process(self, element: tuple[str, Iterable[bytes]], layout: DatasetLayout) -> Iterator[ShardReceipt]:
        name, its_blocks = element
        while len(self._pending) >= SHARDS_IN_FLIGHT:
            yield self._next_receipt()
        shard, refs = ShardName.parse(name), [ref for block in its_blocks for ref in blocks.unpack(block)]
        self._pending.append(self._drivers.submit(extract_shard, self._extractor, shard, refs, layout.vocabulary))

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
        return receipt


class ExtractBatchFn(_ModelFn):
    """Extracts batches for a pipeline of the user's own: records, and error rows under the tag ``errors``."""

    def __init__(self, config: ExtractionConfig, shared: Shared, vocabulary: LabelVocabulary) -> None:
        super().__init__(config, shared)
        self._vocabulary = vocabulary

    def process(self, batch: list[ExampleRef | tuple[str, bytes]]) -> Iterator[Any]:
        for outcome in self._extractor.extract_batch(batch, self._vocabulary):
            yield beam.pvalue.TaggedOutput("errors", outcome) if isinstance(outcome, ErrorRow) else outcome
