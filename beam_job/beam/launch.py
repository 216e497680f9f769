"""Launches a run: checks, runs the pipeline, and reports what it did."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_job.beam import runners
from beam_job.beam.failures import is_interrupt, own_error
from beam_job.beam.graph import build_pipeline
from beam_job.beam.progress import show_progress, show_step
from beam_job.beam.worker_logs import forward_worker_logs
from beam_job.core.errors import JobFailedError
from beam_job.core.options import ExtractOptions
from beam_job.core.records import Shape
from beam_job.dataset import target
from beam_job.dataset.run import read_run
from beam_job.extraction.config import ExtractionConfig
from beam_job.extraction.extractor import Extractor, new_extractor
from beam_job.extraction.plan import Plan, make_plan
from beam_job.extraction.preparation import Preparation, prepare

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
      output: The dataset's directory.
      examples: Examples that went in.
      records: Examples that gave features.
      extracted: Examples that this run has extracted; the others were kept from earlier runs.
      errors: Error class to number of error rows.
      passed_over: Kind to number of the input's files that are no examples.
      notes: What else there is to know: how the input was understood, and what is missing from it.
      splits: Split name to its examples, records, shards, classes and unlabelled examples, as in run.json.
      features: Feature name to the shape for one example.
      engine: Which engine ran the model, at which precision, why, and how it agrees with TensorFlow, as in run.json.
      stages: Seconds per stage of this run, summed over threads.
      retries: Requests of this run that were repeated because a service failed for a transient reason.
      seconds: From the launch to the end.
      extract_seconds: From the start of the pipeline to the end.
      report: The dataset's report, if one was requested.
    """

    output: str
    examples: int
    records: int
    extracted: int
    errors: Mapping[str, int]
    passed_over: Mapping[str, int]
    notes: Sequence[str]
    splits: Mapping[str, Mapping[str, Any]]
    features: Mapping[str, Shape]
    engine: Mapping[str, Any]
    stages: Mapping[str, float]
    retries: int
    seconds: float
    extract_seconds: float
    report: str | None = None

    @property
    def examples_per_second(self) -> float:
        """Extracted examples per second of the pipeline, including its start."""
        return self.extracted / self.extract_seconds


@dataclasses.dataclass(frozen=True)
class _Launch:
    """A run that can start: what was prepared, and where it will run."""

    run: Preparation
    shared: Shared
    beam_options: Any


def _launch(options: ExtractOptions, beam_arguments: Sequence[str], progress: bool) -> _Launch:
    """Everything that can be checked before the first worker starts; writes nothing.

    Where the work is done in this process, the model that is probed here is the one that does it.
    """
    beam_options = runners.run_options(options, beam_arguments, progress)
    if runners.is_local(beam_options) and not runners.runs_in_process(beam_options):
        forward_worker_logs()
    shared = Shared()

    def acquire(config: ExtractionConfig) -> Extractor:
        extractor: Extractor = shared.acquire(lambda: new_extractor(config))
        return extractor

    run = prepare(
        options,
        runners.processes_per_machine(beam_options),
        acquire if runners.runs_in_process(beam_options) else None,
        show_step if progress else contextlib.nullcontext,
    )
    return _Launch(run, shared, beam_options)


def run_extract(options: ExtractOptions, beam_arguments: Sequence[str] = (), progress: bool = False) -> RunResult:
    """Extracts a dataset, from the first check to the last file.

    Args:
      options: What to do.
      beam_arguments: Beam's own options, as on a command line.
      progress: Whether to show the progress.

    Raises:
      BeamJobError: anything that ends the run; its message is for the user.
    """
    start = time.monotonic()
    launch = _launch(options, beam_arguments, progress)
    output, config = launch.run.config.output, launch.run.config
    logger.info("extracting %s to %s with %s", options.source.input, output, config.model.handle)
    with target.locked_target(output):
        target.clear_target(output, launch.run.stale, config.identity())
        extract_start = time.monotonic()
        pipeline = build_pipeline(launch.run, launch.shared, launch.beam_options)
        in_process = runners.runs_in_process(launch.beam_options)
        with show_progress(output, in_process) if progress else contextlib.nullcontext():
            _run(pipeline)
    end = time.monotonic()
    run = read_run(output)
    timings = run["timings"]
    work: Mapping[str, Any] = (
        timings if timings["run"] == config.launched else {"extracted": 0, "stages": {}, "retries": 0}
    )
    return RunResult(
        output=options.output.output,
        examples=run["examples"],
        records=sum(split["records"] for split in run["splits"].values()),
        extracted=work["extracted"],
        errors=run["errors"],
        passed_over=run["passed_over"],
        notes=run["notes"],
        splits=run["splits"],
        features=config.model.outputs,
        engine=run["engine"],
        stages=work["stages"],
        retries=work["retries"],
        seconds=end - start,
        extract_seconds=end - extract_start,
    )


def run_plan(options: ExtractOptions, beam_arguments: Sequence[str] = (), progress: bool = False) -> Plan:
    """Says what :func:`run_extract` would do, from this process alone; arguments and errors are the same."""
    launch = _launch(options, beam_arguments, progress)
    extractor = launch.shared.acquire(lambda: new_extractor(launch.run.config))
    try:
        with show_step(f"listing {options.source.input}") if progress else contextlib.nullcontext():
            return make_plan(launch.run, extractor)
    except OSError as error:
        raise JobFailedError(f"The input {options.source.input} cannot be listed: {error}") from None


def write_template(options: ExtractOptions, beam_arguments: Sequence[str]) -> str:
    """Writes the description of the run for Dataflow, which starts it, rather than running it.

    Arguments and errors are those of :func:`run_extract`; ``beam_arguments`` contain a ``--template_location``.

    Returns:
      Where the template is.
    """
    launch = _launch(options, beam_arguments, progress=False)
    output, config = launch.run.config.output, launch.run.config
    with target.locked_target(output):
        target.clear_target(output, launch.run.stale, config.identity())
        build_pipeline(launch.run, launch.shared, launch.beam_options).run()
    return str(launch.beam_options.get_all_options()["template_location"])


def _run(pipeline: beam.Pipeline) -> None:
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # runners wrap what a worker raised in their own errors
        if is_interrupt(error):
            raise KeyboardInterrupt from None
        translated = own_error(error)
        if translated is None:
            raise
        raise translated from error
