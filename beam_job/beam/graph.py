"""The graph of a run: list, compute the layout, extract, finalise."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_job.beam.counting import LimitClasses
from beam_job.beam.transforms import (
    ComputeLayout,
    ComputePieceLayout,
    ExtractPieces,
    ExtractShards,
    FinaliseDataset,
    ListExamples,
    SettleShards,
)
from beam_job.dataset.originals import example_files
from beam_job.extraction.finalisation import describe_run
from beam_job.extraction.pieces import piece_work
from beam_job.extraction.preparation import Preparation
from beam_job.inputs.base import Container, Listing


def build_pipeline(run: Preparation, shared: Shared, beam_options: Any) -> beam.Pipeline:
    """The graph of a run that has been prepared.

    Args:
      run: The run.
      shared: Holds the extractor of a worker process.
      beam_options: Beam's PipelineOptions.
    """
    options, config, limit = run.options, run.config, run.options.source.max_per_class
    pipeline = beam.Pipeline(options=beam_options)
    files = example_files(config.model.modality)
    description = describe_run(options, config, run.notes)
    if isinstance(run.source, Container):
        work = piece_work(run, run.source)
        pieces = pipeline | "Extract pieces" >> ExtractPieces(config, shared, work)
        layout = pieces | "Compute layout" >> ComputePieceLayout(
            options.shard, run.numbering, options.source.input, config.output
        )
        receipts = layout | "Settle shards" >> SettleShards(config)
        receipts | "Finalise" >> FinaliseDataset(config.output, description, layout)
        return pipeline
    assert isinstance(run.source, Listing)
    refs = pipeline | "List examples" >> ListExamples(run.source, files, run.policy)
    if limit is not None:
        refs = refs | "Limit classes" >> LimitClasses(run.policy, limit)
    layout = refs | "Compute layout" >> ComputeLayout(
        options.shard,
        run.numbering,
        options.source.input,
        run.source.ids_unique,
        config.output,
        run.earlier.shards if run.earlier else {},
    )
    receipts = refs | "Extract shards" >> ExtractShards(config, shared, layout)
    receipts | "Finalise" >> FinaliseDataset(config.output, description, layout)
    return pipeline
