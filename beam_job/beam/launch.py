"""Builds the graph of a run, and runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_job.beam import runners
from beam_job.beam.progress import show_progress, show_step
from beam_job.beam.transforms import ExtractShards, FinaliseDataset, ListImages, PlanShards, new_extractor
from beam_job.core import errors
from beam_job.core.errors import BeamJobError, JobFailedError
from beam_job.core.options import ExtractOptions
from beam_job.dataset import target
from beam_job.dataset.labels import LabelVocabulary
from beam_job.dataset.reading import read_run
from beam_job.engines.selection import choose_engine
from beam_job.extract.extractor import ExtractionConfig, first_pictures, make_config
from beam_job.extract.finalisation import RunDescription
from beam_job.extract.layout import SplitPolicy
from beam_job.extract.plan import Forecast, forecast
from beam_job.extract.resumption import EarlierRun, check_identity, read_earlier_run
from beam_job.inputs.base import Source, all_refs, open_source
from beam_job.models.spec import describe_model
from beam_job.runtime import storage

# How the errors of this package and of the operating system look in the text of what a runner raises.
_OWN_ERROR = re.compile(r"^(?:\w+: )?beam_job\.errors\.(\w+): (.*?)(?: \[while running .*)?$", re.MULTILINE)
_SYSTEM_ERROR = re.compile(
    r"^((?:OS|Permission|FileNotFound|Connection\w*|Timeout|Memory)Error: .*?)(?: \[while running .*)?$", re.MULTILINE
)
# What Beam adds to the words of an error.
_WHERE = re.compile(r" \[while running .*?\]$", re.DOTALL)
# How a runner outside of this process says that it has given up, and how the errors in its reasons look.
_GIVEN_UP = re.compile(
    r"(?:Pipeline \S+ failed in state|Dataflow pipeline failed\. State:) (?P<state>\w+)"
    r"(?:: |, Error:\s*)(?P<reason>.*)",
    re.DOTALL,
)
_REASON = re.compile(r"^(?:Caused by: )?(?:[\w$]+\.)*\w*(?:Error|Exception): .*$", re.MULTILINE)
_INTERRUPT = re.compile(r"^(?:\w+: )?KeyboardInterrupt\b", re.MULTILINE)
# Options that do not decide what is in the dataset, or name the place it is in.
_NOT_RECORDED = frozenset(
    {"output", "overwrite", "resume", "retry_errors", "report", "on", "worker_threads", "read_threads"}
)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
      output: The dataset's directory.
      images: Images that went in.
      records: Images that gave features.
      errors: Error class to number of error rows.
      splits: Split name to its images, records, shards, classes and unlabelled images, as in run.json.
      features: Feature name to the shape for one image.
      engine: Which engine ran the model, at which precision, why, and how it agrees with TensorFlow, as in run.json.
      stages: Seconds per stage, summed over threads.
      retries: Requests that were made again because a service could not answer.
      seconds: From the launch to the end.
      extract_seconds: From the start of the pipeline to the end.
      report: The dataset's page, if one was asked for.
    """

    output: str
    images: int
    records: int
    errors: Mapping[str, int]
    splits: Mapping[str, Mapping[str, Any]]
    features: Mapping[str, tuple[int, ...]]
    engine: Mapping[str, Any]
    stages: Mapping[str, float]
    retries: int
    seconds: float
    extract_seconds: float
    report: str | None = None

    @property
    def images_per_second(self) -> float:
        """Images per second of the pipeline, its own start included."""
        return self.images / self.extract_seconds


@dataclasses.dataclass(frozen=True)
class _Launch:
    """What is known when all checks have passed, and the model has answered to a probe."""

    source: Source
    output: str
    stale: list[str]
    earlier: EarlierRun | None
    vocabulary: LabelVocabulary | None
    config: ExtractionConfig
    shared: Shared
    beam_options: Any


def _launch(options: ExtractOptions, beam_arguments: Sequence[str], progress: bool) -> _Launch:
    """Everything that can be checked before the first worker starts; writes nothing."""
    beam_options = _beam_options(options, beam_arguments, progress)
    source = open_source(options.source.input)
    source.check()
    output = storage.absolute(options.output.output)
    for path, flag in ((options.source.input, "--input"), (output, "--output")):
        runners.check_place(beam_options, path, flag)
    resume = options.output.resume or options.output.retry_errors
    stale = target.check_target(output, options.output.overwrite, resume)
    earlier = read_earlier_run(output) if resume else None
    vocabulary = LabelVocabulary.read(options.source.labels) if options.source.labels else None
    shared = Shared()
    with show_step(f"loading {options.model.model}") if progress else contextlib.nullcontext():
        config = _probed_config(options, source, earlier, beam_options, shared)
    if earlier:
        check_identity(earlier, config.identity())
    return _Launch(source, output, stale, earlier, vocabulary, config, shared, beam_options)


def _beam_options(options: ExtractOptions, beam_arguments: Sequence[str], progress: bool) -> Any:
    """Beam's options: those of the place to run on, and then those that were given, which win."""
    place = options.work.on
    stands_for = runners.preset(place) if place else []
    if place and progress:
        print(f"--on={place} stands for {shlex.join(stands_for)}", file=sys.stderr, flush=True)
    return runners.beam_options([*stands_for, *beam_arguments], options.flat())


def run_plan(options: ExtractOptions, beam_arguments: Sequence[str] = (), progress: bool = False) -> Forecast:
    """Says what :func:`run_extract` would do, from this process alone.

    Arguments and errors are those of :func:`run_extract`.
    """
    launch = _launch(options, beam_arguments, progress)
    extractor = launch.shared.acquire(lambda: new_extractor(launch.config))
    try:
        with show_step(f"looking at {options.source.input}") if progress else contextlib.nullcontext():
            return forecast(options, launch.config, launch.source, launch.vocabulary, extractor, launch.earlier)
    except OSError as error:
        raise JobFailedError(f"The input {options.source.input} cannot be listed: {error}") from None


def run_extract(options: ExtractOptions, beam_arguments: Sequence[str] = (), progress: bool = False) -> RunResult:
    """Extracts a dataset, from the first check to the last file.

    Args:
      options: What to do.
      beam_arguments: Options of Beam's own, as on a command line.
      progress: Whether to show how far the run is.

    Raises:
      BeamJobError: anything that ends the run; its sentence is for the user.
    """
    start = time.monotonic()
    launch = _launch(options, beam_arguments, progress)
    output, config = launch.output, launch.config
    with target.locked_target(output):
        target.clear_target(output, launch.stale, config.identity())
        extract_start = time.monotonic()
        pipeline = _pipeline(options, launch)
        in_process = runners.runs_in_process(launch.beam_options)
        with show_progress(output, in_process) if progress else contextlib.nullcontext():
            _run(pipeline)
    end = time.monotonic()
    run = read_run(output)
    report = _report(options) if options.output.report else None
    return RunResult(
        output=options.output.output,
        images=run["images"],
        records=sum(split["records"] for split in run["splits"].values()),
        errors=run["errors"],
        splits=run["splits"],
        features=config.model.outputs,
        engine=run["engine"],
        stages=run["timings"]["stages"],
        retries=run["timings"]["retries"],
        seconds=end - start,
        extract_seconds=end - extract_start,
        report=report,
    )


def _report(options: ExtractOptions) -> str:
    """Writes the dataset's page, and says where; what it needs is not loaded for runs without one."""
    from beam_job.report.page import write_report

    return write_report(options.output.output).report


def write_template(options: ExtractOptions, beam_arguments: Sequence[str] = ()) -> str:
    """Writes the run's description for Dataflow, which starts it, rather than waiting for its end.

    Arguments and errors are those of :func:`run_extract`; ``beam_arguments`` hold a ``--template_location``.

    Returns:
      Where the template is.
    """
    launch = _launch(options, beam_arguments, progress=False)
    target.clear_target(launch.output, launch.stale, launch.config.identity())
    _pipeline(options, launch).run()
    return str(launch.beam_options.get_all_options()["template_location"])


def _pipeline(options: ExtractOptions, launch: _Launch) -> beam.Pipeline:
    shards = launch.earlier.shards if launch.earlier else {}
    return build_pipeline(
        options, launch.source, launch.config, launch.vocabulary, launch.shared, launch.beam_options, shards
    )


def _probed_config(
    options: ExtractOptions, source: Source, earlier: EarlierRun | None, beam_options: Any, shared: Shared
) -> ExtractionConfig:
    """The config with the shapes of the features, which a probe image tells.

    Where the work is done in this very process, the model that is probed here is the one that works there.
    """
    spec = describe_model(options.model)
    engine = choose_engine(
        spec,
        options.engine.engine,
        options.engine.precision,
        options.work.batch_size,
        lambda: first_pictures(all_refs(source), spec, options.decode, options.source.allowed_roots),
        earlier.identity["engine"][0] if earlier else None,
    )
    config = make_config(
        spec,
        engine,
        options.decode,
        options.work,
        output=options.output,
        allowed_roots=options.source.allowed_roots,
        processes=runners.processes_per_machine(beam_options),
    )
    if runners.runs_in_process(beam_options):
        shapes = shared.acquire(lambda: new_extractor(config)).probe()
    else:
        extractor = new_extractor(config)
        shapes = extractor.probe()
        extractor.close()
    return dataclasses.replace(config, model=dataclasses.replace(spec, outputs=shapes))


def build_pipeline(
    options: ExtractOptions,
    source: Source,
    config: ExtractionConfig,
    vocabulary: LabelVocabulary | None,
    shared: Shared,
    beam_options: Any,
    earlier_shards: Mapping[str, int] | None = None,
) -> beam.Pipeline:
    """The graph: list, plan, extract, finalise; ``earlier_shards`` are the numbers of shards to stay with."""
    pipeline = beam.Pipeline(options=beam_options)
    splits = SplitPolicy(options.source.splits, options.source.split_seed)
    refs = pipeline | "List images" >> ListImages(source, splits)
    plan = refs | "Plan shards" >> PlanShards(
        options.shard, vocabulary, options.source.input, source.ids_unique, config.output, earlier_shards or {}
    )
    receipts = refs | "Extract shards" >> ExtractShards(config, shared, plan)
    receipts | "Finalise" >> FinaliseDataset(config.output, describe_run(options, config), plan)
    return pipeline


def describe_run(options: ExtractOptions, config: ExtractionConfig) -> RunDescription:
    """What run.json will say of how the dataset came to be."""
    return RunDescription(
        options={name: value for name, value in options.flat().items() if name not in _NOT_RECORDED},
        model=config.model.to_json(),
        preprocessing=config.model.preprocessing.to_json(),
        decode=config.decode.to_json(),
        engine=config.engine.to_json(),
        engine_milliseconds=config.engine.milliseconds,
        outputs=config.model.outputs,
        identity=config.identity(),
        max_error_rate=options.output.max_error_rate,
    )


def _run(pipeline: beam.Pipeline) -> None:
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # runners wrap what a worker raised in errors of their own
        if _INTERRUPT.search(str(error)):
            raise KeyboardInterrupt from None
        translated = own_error(error)
        if translated is None:
            raise
        raise translated from error


def own_error(error: BaseException) -> BeamJobError | None:
    """The error of this package, or of the operating system, that lies in what a runner raised; None for a bug."""
    while error.__cause__ is not None and not isinstance(error, BeamJobError):
        error = error.__cause__
    if isinstance(error, BeamJobError):
        return type(error)(_WHERE.sub("", str(error)))
    text = str(error)
    if own := _OWN_ERROR.findall(text):
        name, message = own[-1]
        return getattr(errors, name, JobFailedError)(message)
    if system := _SYSTEM_ERROR.findall(text):
        return JobFailedError(f"The run failed: {system[-1]}")
    if given_up := _GIVEN_UP.match(text):
        reasons = _REASON.findall(given_up["reason"]) or given_up["reason"].splitlines()[:1]
        return JobFailedError(
            f"The runner ended the run as {given_up['state']}: {reasons[-1].strip().rstrip('.')}. Its own logs tell "
            f"more; --resume goes on with what is committed."
        )
    return None
