"""Runs with their counters, which a test compares with what it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_job.beam import runners
from beam_job.beam.graph import build_pipeline
from beam_job.core.options import ExtractOptions
from beam_job.extraction.preparation import prepare


def metrics_of_a_run(examples: Path, output: Path, beam_arguments: list[str]) -> Mapping[str, int]:
    """Beam's counters of a run with eight shards on TensorFlow, in which the DoFns load the model themselves."""
    options = ExtractOptions.of(input=str(examples), output=str(output), num_shards=8, engine="tensorflow")
    beam_options = runners.beam_options(beam_arguments)
    result = build_pipeline(prepare(options), Shared(), beam_options).run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("beam_job"))
    return {counter.key.metric.name: counter.committed for counter in found["counters"]}
