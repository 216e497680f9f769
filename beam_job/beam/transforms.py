"""Beam transforms: wiring only. What each step does is a function elsewhere that runs without Beam."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_job.beam import blocks
from beam_job.beam.counting import CountPieces
from beam_job.beam.workers import ExtractBatchFn, ExtractPiecesFn, ExtractShardsFn
from beam_job.core import naming
from beam_job.core.naming import ShardName
from beam_job.core.options import (
    DEFAULT_MODEL,
    DecodeOptions,
    EngineOptions,
    ExtractOptions,
    ModelOptions,
    OutputOptions,
    ShardOptions,
    SourceOptions,
    WorkOptions,
)
from beam_job.core.records import ExampleRef, Piece, ShardReceipt
from beam_job.core.sharding import stable_hash
from beam_job.dataset import target
from beam_job.dataset.labels import LabelVocabulary, Numbering
from beam_job.engines.selection import choose_engine
from beam_job.extraction.config import ExtractionConfig, make_config
from beam_job.extraction.finalisation import RunDescription, finalise
from beam_job.extraction.layout import DatasetLayout, PieceSummary, Tally, make_layout
from beam_job.extraction.pieces import PieceWork
from beam_job.extraction.policy import RefPolicy
from beam_job.extraction.settling import pieces_to_save, save_piece, settle_shard
from beam_job.extraction.shards import duplicate_ids
from beam_job.inputs.base import Container, ExampleFiles, Listing, readable_id
from beam_job.models.spec import describe_model
from beam_job.runtime import storage
from beam_job.runtime.threadmap import batched

# The search for repeated ids is cut into this many parts: so many can run at once, each with its part in memory.
_ID_BUCKETS = 256


@dataclasses.dataclass
class ListExamples(beam.PTransform):  # type: ignore[misc]
    """Lists an input in the workers, its units in parallel, and gives every ref a split."""

    source: Listing
    files: ExampleFiles
    policy: RefPolicy

    def expand(self, pbegin: Any) -> Any:
        return (
            pbegin
            | "Start listing" >> beam.Impulse()
            # bytes
            | "List units" >> beam.FlatMap(_units, self.source)
            # str: the JSON of a unit, which is ASCII even when names are not UTF-8
            | "Spread units" >> beam.Reshuffle()
            | "List refs" >> beam.FlatMap(_ref_blocks, self.source, self.files, self.policy).with_output_types(bytes)
            # block of ExampleRef with splits
        )


@dataclasses.dataclass
class ComputeLayout(beam.PTransform):  # type: ignore[misc]
    """Blocks of refs -> one DatasetLayout, once it is certain that the run can go ahead."""

    options: ShardOptions
    numbering: Numbering
    source: str
    ids_unique: bool
    output: str
    earlier_shards: Mapping[str, int]

    def expand(self, refs: Any) -> Any:
        duplicates = refs.pipeline | "No duplicates" >> beam.Create([]).with_output_types(str)
        if not self.ids_unique:
            duplicates = (
                refs
                | "Group by id" >> beam.ParDo(_GroupByIdFn())
                # (bucket of ids, block of ExampleRef)
                | "Gather ids" >> beam.GroupByKey()
                # (bucket of ids, [block of ExampleRef])
                | "Find repeated ids" >> beam.FlatMap(_repeated).with_output_types(str)
                # str: the id and where it occurs
            )
        return (
            refs
            | "Tally refs" >> beam.CombineGlobally(_TallyFn())
            # Tally
            | "Make layout"
            >> beam.ParDo(
                _MakeLayoutFn(self.options, self.numbering, self.source, self.output, self.earlier_shards),
                beam.pvalue.AsIter(duplicates),
            )
            # DatasetLayout
        )


@dataclasses.dataclass
class ExtractPieces(beam.PTransform):  # type: ignore[misc]
    """Reads the containers of an input, each piece in one go, and stages its shards: a PieceSummary for each piece.

    Where it must be known first what there is in all of them, they are read once more before that.
    """

    config: ExtractionConfig
    shared: Shared
    work: PieceWork

    def expand(self, pbegin: Any) -> Any:
        pieces = (
            pbegin
            | "Start listing" >> beam.Impulse()
            # bytes
            | "List pieces" >> beam.FlatMap(_numbered_pieces, self.work.source)
            # (number, Piece)
            | "Spread pieces" >> beam.Reshuffle()
        )
        limits = []
        if self.work.is_counted:
            limits.append(beam.pvalue.AsSingleton(pieces | "Count pieces" >> CountPieces(self.work)))
        return pieces | "Extract pieces" >> beam.ParDo(ExtractPiecesFn(self.config, self.shared, self.work), *limits)
        # PieceSummary


@dataclasses.dataclass
class ComputePieceLayout(beam.PTransform):  # type: ignore[misc]
    """PieceSummaries -> one DatasetLayout, whose shards are numbered as the pieces are."""

    options: ShardOptions
    numbering: Numbering
    source: str
    output: str

    def expand(self, summaries: Any) -> Any:
        return (
            summaries
            | "Tally pieces" >> beam.CombineGlobally(_TallyPiecesFn())
            # Tally
            | "Make layout" >> beam.ParDo(_MakeLayoutFn(self.options, self.numbering, self.source, self.output, {}))
            # DatasetLayout
        )


@dataclasses.dataclass
class SettleShards(beam.PTransform):  # type: ignore[misc]
    """The layout of pieces that are staged -> a receipt for each shard, all committed."""

    config: ExtractionConfig

    def expand(self, layout: Any) -> Any:
        side = beam.pvalue.AsSingleton(layout)
        saved = (
            layout
            | "Pieces to save" >> beam.FlatMap(pieces_to_save)
            # piece key
            | "Spread saving" >> beam.Reshuffle()
            | "Save pieces" >> beam.Map(_save, self.config, side)
            # piece key
        )
        return (
            layout
            | "All shards" >> beam.FlatMap(_shard_names)
            # shard name
            | "Spread shards" >> beam.Reshuffle()
            # Only when all that could be overwritten is saved.
            | "Settle shards" >> beam.Map(_settle, self.config, side, beam.pvalue.AsIter(saved))
            # ShardReceipt
        )


@dataclasses.dataclass
class ExtractShards(beam.PTransform):  # type: ignore[misc]
    """Blocks of refs, and the layout -> a receipt for each shard, all committed."""

    config: ExtractionConfig
    shared: Shared
    layout: Any

    def expand(self, refs: Any) -> Any:
        layout = beam.pvalue.AsSingleton(self.layout)
        grouped = refs | "Group by shard" >> beam.ParDo(_GroupByShardFn(), layout)
        # One more block for each shard, without refs, so that a shard without examples is written too.
        empty = self.layout | "All shards" >> beam.FlatMap(_empty_blocks).with_output_types(tuple[str, bytes])
        return (
            (grouped, empty)
            | "Refs and shards" >> beam.Flatten()
            # (shard name, block of ExampleRef)
            | "Gather shards" >> beam.GroupByKey()
            # (shard name, [block of ExampleRef])
            | "Extract shards" >> beam.ParDo(ExtractShardsFn(self.config, self.shared), layout)
            # ShardReceipt
        )


@dataclasses.dataclass
class FinaliseDataset(beam.PTransform):  # type: ignore[misc]
    """Receipts -> metadata, error rows, run.json and _SUCCESS, once all receipts are there."""

    output: str
    run: RunDescription
    layout: Any

    def expand(self, receipts: Any) -> Any:
        fingerprints = receipts | "Fingerprints" >> beam.Map(_name_and_fingerprint)
        # (shard name, fingerprint)
        return self.layout | "Write metadata" >> beam.Map(
            _finalise, self.output, self.run, beam.pvalue.AsDict(fingerprints)
        )


@dataclasses.dataclass
class ExtractFeatures(beam.PTransform):  # type: ignore[misc]
    """For your own pipelines: refs, or pairs of an id and an example's bytes -> feature records, and error rows.

    The two results together have one element for every element that went in:

        features, errors = pipeline | beam.Create([("cat.jpg", data)]) | beam_job.ExtractFeatures()

    Attributes:
      model: The model and its flags; often just a handle.
      engine: What runs it; ``auto`` is TensorFlow unless ``extract`` has compared the engines on this machine.
      decode: How bytes are decoded.
      work: Batch size and threads.
      labels: The label vocabulary, for refs with labels.
    """

    model: ModelOptions | str = DEFAULT_MODEL
    engine: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    decode: DecodeOptions = dataclasses.field(default_factory=DecodeOptions)
    work: WorkOptions = dataclasses.field(default_factory=WorkOptions)
    labels: Sequence[str] = ()

    def expand(self, examples: Any) -> Any:
        model = ModelOptions(model=self.model) if isinstance(self.model, str) else self.model
        spec = describe_model(model, self.decode)
        engine = choose_engine(spec, self.engine.engine, self.engine.precision, self.work.batch_size, list)
        nowhere = ExtractOptions(
            source=SourceOptions(input=""),
            model=model,
            engine=self.engine,
            decode=self.decode,
            shard=ShardOptions(),
            work=self.work,
            output=OutputOptions(output=""),
        )
        config = make_config(spec, engine, nowhere)
        work = ExtractBatchFn(config, Shared(), LabelVocabulary(tuple(self.labels)))
        return (
            examples
            # ExampleRef or (id, bytes)
            | "Batch examples" >> beam.BatchElements(config.batch_size, config.batch_size)
            # [ExampleRef or (id, bytes)]
            | "Extract batches" >> beam.ParDo(work).with_outputs("errors", main="features")
            # features: FeatureRecord; errors: ErrorRow
        )


def _numbered_pieces(_: bytes, source: Container) -> Iterator[tuple[int, Piece]]:
    return enumerate(source.pieces())


def _shard_names(layout: DatasetLayout) -> Iterator[str]:
    return map(str, layout.shard_names())


def _save(key: str, config: ExtractionConfig, layout: DatasetLayout) -> str:
    save_piece(config, layout, key)
    return key


def _settle(name: str, config: ExtractionConfig, layout: DatasetLayout, _: Iterable[str]) -> ShardReceipt:
    return settle_shard(config, layout, ShardName.parse(name))


def _units(_: bytes, source: Listing) -> Iterator[str]:
    return map(json.dumps, source.units())


def _ref_blocks(unit: str, source: Listing, files: ExampleFiles, policy: RefPolicy) -> Iterator[bytes]:
    entries = (
        policy.assign(entry) if isinstance(entry, ExampleRef) else entry
        for entry in source.refs(json.loads(unit), files)
    )
    return map(blocks.pack, batched(entries, blocks.BLOCK_REFS))


def _repeated(entry: tuple[int, Iterable[bytes]]) -> Iterator[str]:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for block in entry[1]:
        for ref in blocks.unpack(block):
            places[ref.id].append(ref.uri)
    for example_id, uris in places.items():
        if len(uris) > 1:
            places_shown = ", ".join(sorted(set(map(readable_id, uris)))[:2])
            yield f"{example_id!r} ({len(uris)} times: {places_shown})"


def _empty_blocks(layout: DatasetLayout) -> Iterator[tuple[str, bytes]]:
    return ((str(shard), blocks.pack([])) for shard in layout.shard_names())


def _name_and_fingerprint(receipt: ShardReceipt) -> tuple[str, str]:
    return receipt.shard, receipt.fingerprint


def _finalise(layout: DatasetLayout, output: str, run: RunDescription, fingerprints: Mapping[str, str]) -> None:
    with target.writing(output, "The metadata"):
        finalise(output, layout, run, fingerprints)


class _SumTalliesFn(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> Tally:
        return Tally()

    def merge_accumulators(self, tallies: Iterable[Tally]) -> Tally:
        total = Tally()
        for tally in tallies:
            total.merge(tally)
        return total

    def extract_output(self, tally: Tally) -> Tally:
        return tally


class _TallyFn(_SumTalliesFn):
    def add_input(self, tally: Tally, block: bytes) -> Tally:
        refs, passed_over = blocks.unpack_all(block)
        for ref in refs:
            tally.add(ref)
        tally.passed_over.update(passed_over)
        return tally


class _TallyPiecesFn(_SumTalliesFn):
    def add_input(self, tally: Tally, piece: PieceSummary) -> Tally:
        tally.add_piece(piece)
        return tally


class _GroupFn(beam.DoFn):  # type: ignore[misc]
    """Blocks of refs -> keys, and blocks of the refs that have them."""

    def start_bundle(self) -> None:
        self._grouper: blocks.Grouper[Any] = blocks.Grouper()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        return (WindowedValue(pair, window.max_timestamp(), [window]) for pair in self._grouper.rest())


class _GroupByIdFn(_GroupFn):
    def process(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        return self._grouper.add(blocks.unpack(block), lambda ref: stable_hash(ref.id, "bucket") % _ID_BUCKETS)


class _GroupByShardFn(_GroupFn):
    def process(self, block: bytes, layout: DatasetLayout) -> Iterator[tuple[str, bytes]]:
        return self._grouper.add(blocks.unpack(block), lambda ref: str(layout.shard_of(ref)))


class _MakeLayoutFn(beam.DoFn):  # type: ignore[misc]
    def __init__(
        self,
        options: ShardOptions,
        numbering: Numbering,
        source: str,
        output: str,
        earlier_shards: Mapping[str, int],
    ) -> None:
        self._options, self._numbering, self._source, self._output = options, numbering, source, output
        self._earlier_shards = earlier_shards

    def process(self, tally: Tally, duplicates: Iterable[str] = ()) -> Iterator[DatasetLayout]:
        if repeated := sorted(duplicates):
            raise duplicate_ids(repeated)
        layout = make_layout(tally, self._options, self._numbering, self._source, self._earlier_shards)
        with target.writing(self._output, naming.LAYOUT):
            storage.write_bytes(storage.join(self._output, naming.LAYOUT), json.dumps(layout.to_json()).encode())
        yield layout
