"""A stream of refs in, a stream of outcomes out. Plain Python, without Beam.

    refs -> read (many in flight) -> arrange -> batches -> decode + model (a thread per core) -> outcomes in order

A thread takes a whole batch, decodes it and runs the model on it, so decoding and the model share the cores without
passing examples between threads, and every core has one stream of work. Reads have separate threads, since they
wait rather than compute. Everything in flight is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from beam_job.core.metrics import EXAMPLES_DONE, StageTimes
from beam_job.core.records import Content, ErrorRow, ExampleRef
from beam_job.dataset.labels import Labels
from beam_job.engines.base import Engine
from beam_job.engines.selection import load_engine
from beam_job.extraction.arranging import Task, by_length, in_their_order, restored
from beam_job.extraction.batches import Outcome, probe_model, process_batch
from beam_job.extraction.config import ExtractionConfig
from beam_job.inputs.reading import read_content
from beam_job.runtime.allocation import keep_freed_memory
from beam_job.runtime.threadmap import batched, map_in_groups, map_in_order, read_ahead

# Bytes of a shard that are read ahead for each thread that works on it. A core decodes about 50 MB of JPEG per second,
# two shards are in flight at once, and a store may take a tenth of a second to answer.
_READ_AHEAD_BYTES = 4 << 20


class Extractor:
    """The model and the threads of one process; shared by everything that extracts in it."""

    def __init__(self, config: ExtractionConfig, engine: Engine) -> None:
        self._threads = config.threads  # computed from the cores of this machine, once
        keep_freed_memory(self._threads)
        self.config = config
        self._engine = engine
        self._readers = ThreadPoolExecutor(config.read_threads, "beam-job-read")
        self._workers = ThreadPoolExecutor(self._threads, "beam-job-work")

    def close(self) -> None:
        """Ends the threads."""
        self._readers.shutdown(cancel_futures=True)
        self._workers.shutdown(cancel_futures=True)

    def probe(self) -> None:
        """Runs the model on a neutral example.

        Raises:
          ModelError: the model refuses the example, or does not answer with one row of features per example.
        """
        probe_model(self.config.model, self._engine, self.config.batch_size)

    def outcomes(self, refs: Iterable[ExampleRef], vocabulary: Labels, times: StageTimes) -> Iterator[Outcome]:
        """A record or an error row for each ref, in the order of the refs.

        Args:
          refs: Consumed lazily, a bounded number ahead.
          vocabulary: Label to index.
          times: Gets the seconds of each stage.
        """
        config = self.config

        def read(ref: ExampleRef) -> Content:
            with times.measure("read"):
                return read_content(ref, config.allowed_roots)

        contents = map_in_groups(read, refs, self._readers, config.read_threads + config.batch_size, self._weight_of)
        yield from self._outcomes(contents, vocabulary, times)

    def outcomes_in_order(
        self, contents: Iterable[Content], vocabulary: Labels, times: StageTimes
    ) -> Iterator[Outcome]:
        """An outcome for each example of a stream that can only be read in its order, in that order.

        Args:
          contents: Read in one of the reading threads, a bounded number of bytes ahead.
          vocabulary: Label to index; asked for a label only after its example was read.
          times: Gets the seconds of each stage, but not of the reading.
        """
        ahead = read_ahead(contents, self._readers, self._weight_of)
        yield from self._outcomes(ahead, vocabulary, times)

    def _weight_of(self, content: Content) -> float:
        """The part of what may be read ahead that a content takes."""
        _, found = content
        return 0.0 if isinstance(found, ErrorRow) else len(found) / (_READ_AHEAD_BYTES * self._threads)

    def _outcomes(self, contents: Iterable[Content], vocabulary: Labels, times: StageTimes) -> Iterator[Outcome]:
        config = self.config

        def work(batch: list[Task]) -> list[tuple[int, Outcome]]:
            return process_batch(batch, config.model, self._engine, config.batch_size, vocabulary, times)

        arranged = by_length if config.model.modality.fills_up else in_their_order
        batches = batched(arranged(contents), config.batch_size)

        def placed() -> Iterator[tuple[int, Outcome]]:
            for outcomes in map_in_order(work, batches, self._workers, self._threads + 1):
                yield from outcomes
                EXAMPLES_DONE.add(len(outcomes))

        yield from restored(placed())

    def extract_batch(self, batch: Iterable[ExampleRef | tuple[str, bytes]], vocabulary: Labels) -> list[Outcome]:
        """An outcome for each example of a batch, given as refs to read or as ids with the bytes themselves."""
        contents = [
            self._readers.submit(read_content, item, self.config.allowed_roots)
            if isinstance(item, ExampleRef)
            else (ExampleRef(item[0], ""), item[1])
            for item in batch
        ]
        tasks = list(in_their_order(item.result() if isinstance(item, Future) else item for item in contents))
        config = self.config
        work = self._workers.submit(
            process_batch, tasks, config.model, self._engine, config.batch_size, vocabulary, StageTimes()
        )
        return [outcome for _, outcome in sorted(work.result(), key=lambda placed: placed[0])]


def new_extractor(config: ExtractionConfig) -> Extractor:
    """An extractor with its model loaded."""
    return Extractor(config, load_engine(config.engine, config.model, config.threads))
