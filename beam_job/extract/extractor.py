"""The heart: one shard of refs in, one committed shard of features out. Plain Python; no Beam in here.

    refs -> read (many in flight) -> batches -> decode + model (a thread per core) -> write in order -> commit

A thread takes a whole batch, decodes it and runs the model on it, so decoding and the model share the cores without
handing pixels from thread to thread, and every core has one stream of work. Reads have threads of their own, since
they wait rather than work. Everything in flight is bounded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_job.core import naming
from beam_job.core.errors import (
    AccessDeniedError,
    BadReferenceError,
    BeamJobError,
    ImageError,
    InputError,
    JobFailedError,
    ModelError,
    ModelRejectedError,
    NotFoundError,
    OutsideRootsError,
    ReadError,
)
from beam_job.core.metrics import IMAGES_DONE, RETRIES, StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.options import DecodeOptions, OutputOptions, WorkOptions
from beam_job.core.records import Failure, FeatureRecord, Float32Array, ImageRef, ShardReceipt
from beam_job.core.sharding import order_key
from beam_job.dataset import commit, target
from beam_job.dataset.labels import LabelVocabulary
from beam_job.engines.base import BATCH_SIZES, Engine, EngineChoice
from beam_job.extract.resumption import carried_over
from beam_job.modalities.image.decoding import DecodePolicy, decode_image
from beam_job.models.spec import ModelSpec
from beam_job.runtime import storage
from beam_job.runtime.allocation import keep_freed_memory
from beam_job.runtime.threadmap import batched, map_in_groups, map_in_order

_DUPLICATES_SHOWN = 5
# Bytes of a shard that are read ahead for each thread that works on it. A core takes in some 50 megabytes of JPEG in a
# second, two shards are under way at once, and a store may take a tenth of a second to answer.
_READ_AHEAD_BYTES = 4 << 20
_CGROUP_QUOTA = "/sys/fs/cgroup/cpu.max"

Outcome = FeatureRecord | Failure
Content = tuple[ImageRef, bytes | Failure]


@dataclasses.dataclass(frozen=True)
class ExtractionConfig:
    """What every worker needs to know; the same for all shards of a run.

    Attributes:
      model: Which model, with its preprocessing.
      engine: Which engine runs it, at which precision.
      decode: How bytes become pixels.
      output: The dataset's directory.
      allowed_roots: Directories that images must lie in; any will do when there are none.
      resume: Whether to keep what an earlier run at the output has done.
      retry_errors: Whether images that failed in an earlier run are tried again.
      batch_size: Images in one call of the model.
      worker_threads: Threads that decode and run the model, if the user said; see ``threads``.
      processes: Worker processes that share the cores of a machine.
      read_threads: Reads in flight.
    """

    model: ModelSpec
    engine: EngineChoice
    decode: DecodePolicy
    output: str
    allowed_roots: tuple[str, ...]
    resume: bool
    retry_errors: bool
    batch_size: int
    worker_threads: int | None
    processes: int
    read_threads: int

    @property
    def threads(self) -> int:
        """Threads that decode and run the model in this process: its share of the cores, unless the user said."""
        return self.worker_threads or max(1, available_cores() // self.processes)

    def identity(self) -> dict[str, Any]:
        """What decides the features, beside the images themselves."""
        return {
            "model": [self.model.digest, *map(str, self.model.options.layer)],
            "preprocessing": self.model.preprocessing.to_json(),
            "decode": self.decode.to_json(),
            "engine": self.engine.identity(),
            "batch_size": self.batch_size,
        }

    @functools.cached_property
    def identity_digest(self) -> str:
        """SHA-256 of the identity, in hexadecimal."""
        return hashlib.sha256(commit.canonical_json(self.identity())).hexdigest()


def make_config(
    model: ModelSpec,
    engine: EngineChoice,
    decode: DecodeOptions,
    work: WorkOptions,
    *,
    output: OutputOptions | None = None,
    allowed_roots: Iterable[str] = (),
    processes: int = 1,
) -> ExtractionConfig:
    """The config for a model and the user's options.

    Args:
      model: Which model.
      engine: Which engine.
      decode: How bytes become pixels.
      work: How the work is done.
      output: Where the dataset goes, if one is written.
      allowed_roots: Directories that images must lie in, if there are such.
      processes: Worker processes that share the cores of a machine.
    """
    return ExtractionConfig(
        model=model,
        engine=engine,
        decode=DecodePolicy(decode.decode, decode.max_image_pixels),
        output=storage.absolute(output.output) if output else "",
        allowed_roots=tuple(map(storage.absolute, allowed_roots)),
        resume=bool(output and (output.resume or output.retry_errors)),
        retry_errors=bool(output and output.retry_errors),
        batch_size=work.batch_size or BATCH_SIZES[engine.name][engine.precision],
        worker_threads=work.worker_threads,
        processes=processes,
        read_threads=work.read_threads,
    )


def available_cores(quota_file: str = _CGROUP_QUOTA) -> int:
    """Processor cores that this process may use: those it is bound to, or fewer where a container is granted fewer.

    Args:
      quota_file: Where Linux tells the container's share, as ``quota period`` or ``max period`` (cgroup v2, cpu.max).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError), open(quota_file, encoding="ascii") as file:
        quota, period = map(int, file.read().split())
        cores = min(cores, max(1, round(quota / period)))
    return cores


class Extractor:
    """The model and the threads of one process; shared by whatever extracts in it."""

    def __init__(self, config: ExtractionConfig, engine: Engine) -> None:
        self._threads = config.threads  # asks the system
        keep_freed_memory(self._threads)
        self.config = config
        self._engine = engine
        self._readers = ThreadPoolExecutor(config.read_threads, "beam-job-read")
        self._workers = ThreadPoolExecutor(self._threads, "beam-job-work")

    def close(self) -> None:
        """Ends the threads."""
        self._readers.shutdown(cancel_futures=True)
        self._workers.shutdown(cancel_futures=True)

    def probe(self) -> dict[str, tuple[int, ...]]:
        """Runs the model on one gray image.

        Returns:
          Feature name to the shape for one image.

        Raises:
          ModelError: the model does not answer with one array of features per image.
        """
        preprocessing = self.config.model.preprocessing
        gray = np.full((preprocessing.size.height, preprocessing.size.width, 3), 127.5, np.float32)
        (answer,) = self._run_model([preprocessing.scale(gray)])
        if isinstance(answer, ModelRejectedError):
            raise ModelError(f"The model {self.config.model.handle} does not take a gray image: {answer}.")
        return {name: values.shape for name, values in answer.items()}

    def extract_shard(self, shard: ShardName, refs: Iterable[ImageRef], vocabulary: LabelVocabulary) -> ShardReceipt:
        """Extracts a shard and commits it; does nothing but hand back the receipt when that is done already.

        Args:
          shard: Which shard.
          refs: All images of the shard, in any order.
          vocabulary: Label to index.

        Returns:
          The receipt, which accounts for every ref.

        Raises:
          InputError: two refs have the same id.
          BeamJobError: anything else that ends the shard; the sentence names it.
        """
        ordered = sorted(refs, key=lambda ref: order_key(ref.id))
        check_unique(ordered)
        wanted = commit.fingerprint([self.config.identity_digest, list(vocabulary.names)], shard, ordered)
        receipt = commit.find_receipt(self.config.output, shard, wanted)
        if receipt is not None and not (self.config.retry_errors and receipt.failures):
            IMAGES_DONE.add(receipt.images)
        else:
            try:
                with target.writing(self.config.output, shard.file_name):
                    receipt = self._extract(shard, wanted, ordered, vocabulary)
            except BeamJobError:
                raise
            except Exception as error:
                words = " ".join(str(error).split())
                raise JobFailedError(f"{shard.file_name}: {type(error).__name__}: {words}") from error
        return receipt

    def outcomes(self, refs: Iterable[ImageRef], vocabulary: LabelVocabulary, times: StageTimes) -> Iterator[Outcome]:
        """A record or a failure for each ref, in the refs' order.

        Args:
          refs: Drawn from lazily, a bounded number ahead.
          vocabulary: Label to index.
          times: Where the time goes is added here.
        """
        config = self.config

        def read(ref: ImageRef) -> Content:
            with times.measure("read"):
                return read_content(ref, config.allowed_roots)

        def work(batch: list[Content]) -> list[Outcome]:
            return self.process_batch(batch, vocabulary, times)

        bytes_ahead = _READ_AHEAD_BYTES * self._threads
        contents = map_in_groups(
            read,
            refs,
            self._readers,
            config.read_threads + config.batch_size,
            lambda content: _content_bytes(content) / bytes_ahead,
        )
        batches = batched(contents, config.batch_size)
        for outcomes in map_in_order(work, batches, self._workers, self._threads + 1):
            yield from outcomes
            IMAGES_DONE.add(len(outcomes))

    def extract_batch(
        self, batch: Iterable[ImageRef | tuple[str, bytes]], vocabulary: LabelVocabulary, times: StageTimes
    ) -> list[Outcome]:
        """An outcome for each image of a batch, given as refs to read or as ids with the bytes themselves."""
        contents = [
            self._readers.submit(read_content, item, self.config.allowed_roots)
            if isinstance(item, ImageRef)
            else (ImageRef(item[0], ""), item[1])
            for item in batch
        ]
        ready = [item.result() if isinstance(item, Future) else item for item in contents]
        return self._workers.submit(self.process_batch, ready, vocabulary, times).result()

    def process_batch(self, batch: list[Content], vocabulary: LabelVocabulary, times: StageTimes) -> list[Outcome]:
        """Decodes a batch, runs the model on what could be decoded, and gives an outcome for each image, in order."""
        preprocessing, policy = self.config.model.preprocessing, self.config.decode
        prepared: list[tuple[ImageRef, int] | Failure] = []
        pixels: list[Float32Array] = []
        with times.measure("decode"):
            for ref, content in batch:
                if isinstance(content, Failure):
                    prepared.append(content)
                    continue
                try:
                    label = vocabulary.index(ref.label)
                    image = decode_image(content, preprocessing.size, policy, preprocessing.resize)
                except ImageError as error:
                    prepared.append(Failure.of(ref, error))
                else:
                    prepared.append((ref, label))
                    pixels.append(preprocessing.scale(image))
        with times.measure("model"):
            answers = iter(self._run_model(pixels))
        outcomes: list[Outcome] = []
        for item in prepared:
            if isinstance(item, Failure):
                outcomes.append(item)
                continue
            ref, label = item
            answer = next(answers)
            if isinstance(answer, ModelRejectedError):
                outcomes.append(Failure.of(ref, answer))
            else:
                outcomes.append(FeatureRecord(ref.id, label, answer))
        return outcomes

    def _run_model(self, pixels: list[Float32Array]) -> list[Mapping[str, Float32Array] | ModelRejectedError]:
        """Features or a refusal for each image; an image that the model refuses takes no other with it."""
        if not pixels:
            return []
        try:
            answer = self._engine.run(np.stack(pixels))
        except ModelRejectedError as error:
            if len(pixels) == 1:
                return [error]
            return [outcome for image in pixels for outcome in self._run_model([image])]
        for name, values in answer.items():
            if values.ndim < 2 or len(values) != len(pixels):
                raise ModelError(f"Expected {name} to be an array [batch, ...] of features, found {values.shape}.")
        rows = [{name: values[row] for name, values in answer.items()} for row in range(len(pixels))]
        whole = _all_finite(answer)
        return [row if whole or _all_finite(row) else ModelRejectedError(_NOT_FINITE) for row in rows]

    def _extract(
        self, shard: ShardName, wanted: str, refs: list[ImageRef], vocabulary: LabelVocabulary
    ) -> ShardReceipt:
        start = time.perf_counter()
        times = StageTimes()
        config = self.config
        kept: dict[str, FeatureRecord | Failure] = {}
        if config.resume:
            digest = config.identity_digest
            kept = carried_over(config.output, shard, refs, vocabulary, digest, config.retry_errors)
            # What is there from now on is neither the earlier dataset nor yet the new one.
            storage.delete([storage.join(config.output, naming.SUCCESS)])
        with commit.new_shard(config.output, shard) as file:
            for outcome in self._with_kept(refs, kept, vocabulary, times):
                with times.measure("write"):
                    file.add(outcome)
            if config.resume:
                commit.withdraw_receipt(config.output, shard, wanted)
        timings = {**times.seconds(), "wall": time.perf_counter() - start, "retries": RETRIES.take()}
        versions = {ref.id: commit.image_fingerprint(config.identity_digest, ref) for ref in refs}
        rounded = {name: round(seconds, 6) for name, seconds in timings.items()}
        receipt = file.receipt(shard, wanted, versions, rounded)
        if receipt.images != len(refs):
            raise JobFailedError(f"{shard.file_name} has {len(refs)} images but accounts for {receipt.images}.")
        commit.write_receipt(config.output, shard, receipt)
        return receipt

    def _with_kept(
        self,
        refs: list[ImageRef],
        kept: Mapping[str, Outcome],
        vocabulary: LabelVocabulary,
        times: StageTimes,
    ) -> Iterator[Outcome]:
        """An outcome for each ref, in order: what is kept from an earlier run, and what is extracted now."""
        fresh = self.outcomes((ref for ref in refs if ref.id not in kept), vocabulary, times)
        IMAGES_DONE.add(len(kept))
        for ref in refs:
            yield kept[ref.id] if ref.id in kept else next(fresh)


_NOT_FINITE = "expected finite features, found NaN or infinity"


def _all_finite(features: Mapping[str, Float32Array]) -> bool:
    return all(bool(np.isfinite(values).all()) for values in features.values())


def first_pictures(
    refs: Iterable[ImageRef],
    model: ModelSpec,
    decode: DecodeOptions,
    allowed_roots: Sequence[str] = (),
    count: int = 8,
    looked: int = 64,
) -> list[Float32Array]:
    """The first few pictures that can be decoded, in the model's convention: float32 [H, W, 3] each.

    Args:
      refs: Drawn from lazily, at most ``looked``.
      model: What the pictures are prepared for.
      decode: How.
      allowed_roots: Directories that they must lie in, if there are such.
      count: How many are enough.
      looked: How many refs are tried at most.
    """
    preprocessing, policy = model.preprocessing, DecodePolicy(decode.decode, decode.max_image_pixels)
    pictures: list[Float32Array] = []
    for ref in itertools.islice(refs, looked):
        with contextlib.suppress(ImageError):
            pixels = decode_image(read_image(ref, allowed_roots), preprocessing.size, policy, preprocessing.resize)
            pictures.append(preprocessing.scale(pixels))
        if len(pictures) == count:
            break
    return pictures


def read_content(ref: ImageRef, allowed_roots: Sequence[str] = ()) -> Content:
    """The ref with its bytes, or with the failure to read them."""
    try:
        return ref, read_image(ref, allowed_roots)
    except ImageError as error:
        return ref, Failure.of(ref, error)


def read_image(ref: ImageRef, allowed_roots: Sequence[str] = ()) -> bytes:
    """The bytes of an image.

    Raises:
      OutsideRootsError: it lies in none of ``allowed_roots``.
      ReadError: they cannot be had.
      BadReferenceError: the source could not make sense of the image's entry.
    """
    if ref.problem is not None:
        raise BadReferenceError(ref.problem)
    try:
        if allowed_roots and not any(storage.is_below(ref.uri, root) for root in allowed_roots):
            raise OutsideRootsError(f"expected a file below {' or '.join(allowed_roots)}, found {ref.uri}")
        return storage.read_bytes(ref.uri)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file at {ref.uri}") from None
    except PermissionError:
        raise AccessDeniedError(f"the file at {ref.uri} may not be read with these credentials") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte, or a scheme that Beam does not know
        raise ReadError(f"the file at {ref.uri} cannot be read: {error}") from None


def _content_bytes(content: Content) -> int:
    _, found = content
    return len(found) if isinstance(found, bytes) else 0


def check_unique(ordered: list[ImageRef]) -> None:
    """Checks that no id appears twice in refs that are sorted by their ids' order.

    Raises:
      InputError: one does; the sentence names both places.
    """
    for one, two in itertools.pairwise(ordered):
        if one.id == two.id:
            raise duplicate_ids([f"{one.id!r} ({one.uri} and {two.uri})"])


def duplicate_ids(repeated: Sequence[str]) -> InputError:
    """The error for ids that are not unique; the first few of them are named."""
    shown = ", ".join(repeated[:_DUPLICATES_SHOWN])
    more = f" and {len(repeated) - _DUPLICATES_SHOWN} more" if len(repeated) > _DUPLICATES_SHOWN else ""
    return InputError(
        f"Expected every image to have an id of its own, found repeated: {shown}{more}. Remove the "
        f"repeated rows, or give the manifest an id column."
    )
