"""The commands as functions. The command line calls these and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

from beam_job.core.option_fields import group_of
from beam_job.core.options import ExtractOptions, HeadOptions, ModelOptions, ReportOptions, SampleOptions

if TYPE_CHECKING:
    from beam_job.beam.launch import RunResult
    from beam_job.dataset.verification import Verification
    from beam_job.extraction.inspection import ModelReport
    from beam_job.extraction.plan import Plan
    from beam_job.heads.evaluation import Epoch
    from beam_job.heads.training import HeadResult
    from beam_job.option_types import (
        ExtractArguments,
        HeadArguments,
        ModelArguments,
        ReportArguments,
        SampleArguments,
    )
    from beam_job.reporting.page import ReportResult


def extract(
    input: str,
    output: str,
    *,
    beam_options: Sequence[str] = (),
    progress: bool = False,
    **options: Unpack[ExtractArguments],
) -> RunResult:
    """Extracts the features of examples into a dataset; the same as ``beam-job extract``.

    Args:
      input: A directory with a folder per class, a glob, a manifest, a file of texts, or containers.
      output: The dataset's directory; must be empty, unless ``overwrite`` or ``resume`` is true.
      beam_options: Beam's own options, such as ``["--runner=FlinkRunner"]``.
      progress: Whether to show the progress on stderr.
      **options: The other options of the command, by name.

    Returns:
      Counts, classes, errors and timings of the run.

    Raises:
      BeamJobError: the run cannot start or did not succeed; the message is one clear sentence.
    """
    import dataclasses

    from beam_job.beam.launch import run_extract

    chosen = ExtractOptions.of(input=input, output=output, **options)
    result = run_extract(chosen, beam_options, progress)
    if not chosen.output.report:
        return result
    return dataclasses.replace(result, report=report(output).report)


def write_template(input: str, output: str, *, beam_options: Sequence[str], **options: Unpack[ExtractArguments]) -> str:
    """Writes the description of the run of :func:`extract` for Dataflow, which starts it, rather than running it.

    Args:
      input: As for :func:`extract`.
      output: As for :func:`extract`.
      beam_options: Beam's own options; they contain a ``--template_location``.
      **options: As for :func:`extract`.

    Returns:
      Where the template is.

    Raises:
      BeamJobError: the run cannot start.
    """
    from beam_job.beam.launch import write_template as write

    return write(ExtractOptions.of(input=input, output=output, **options), beam_options)


def plan(
    input: str,
    output: str,
    *,
    beam_options: Sequence[str] = (),
    progress: bool = False,
    **options: Unpack[ExtractArguments],
) -> Plan:
    """Says what :func:`extract` would do with the same arguments; the same as ``beam-job plan``. Writes nothing.

    Args:
      input: As for :func:`extract`.
      output: As for :func:`extract`.
      beam_options: As for :func:`extract`.
      progress: As for :func:`extract`.
      **options: As for :func:`extract`.

    Returns:
      Examples, shards, what an earlier run has already, and how long the rest would take on this machine.

    Raises:
      BeamJobError: the run cannot start.
    """
    from beam_job.beam.launch import run_plan

    return run_plan(ExtractOptions.of(input=input, output=output, **options), beam_options, progress)


def inspect_model(model: str, *, input: str | None = None, **options: Unpack[ModelArguments]) -> ModelReport:
    """Inspects a model; the same as ``beam-job inspect-model``.

    Args:
      model: The handle, as for :func:`extract`.
      input: A few examples, as for :func:`extract`, on which each layer is timed; not timed without it.
      **options: The other options of a model, by name.

    Returns:
      What it takes and gives, its layers, its speed on this machine, and the flags that it still needs.

    Raises:
      BeamJobError: it cannot be fetched, or takes no known modality.
    """
    from beam_job.extraction.inspection import inspect_model as inspect

    return inspect(group_of(ModelOptions, {"model": model, **options}), input)


def verify(path: str) -> Verification:
    """Checks that a dataset is complete; the same as ``beam-job verify``.

    Args:
      path: The directory that ``extract`` wrote.

    Returns:
      What is wrong, one line each; nothing for a complete dataset.

    Raises:
      BeamJobError: there is no dataset at the path.
    """
    from beam_job.dataset.verification import verify as verify_dataset

    return verify_dataset(path)


def train_head(
    path: str, *, watch: Callable[[Epoch], None] | None = None, **options: Unpack[HeadArguments]
) -> HeadResult:
    """Trains a classifier head on a dataset; the same as ``beam-job train-head``.

    Args:
      path: The directory that ``extract`` wrote.
      watch: Called after each epoch.
      **options: The options of the command, by name.

    Returns:
      Where the head is, its epochs, and how good it is on the test split beside its baselines.

    Raises:
      BeamJobError: the dataset is not complete, or has too little to learn from.
    """
    from beam_job.heads.training import train_head as train

    return train(path, group_of(HeadOptions, options), watch or _ignore)


def report(path: str, **options: Unpack[ReportArguments]) -> ReportResult:
    """Writes the HTML report of a dataset; the same as ``beam-job report``.

    Args:
      path: The directory that ``extract`` wrote.
      **options: The options of the command, by name.

    Returns:
      Where the page is, and the health of the features.

    Raises:
      BeamJobError: there is no complete dataset, or a package that draws the page is not installed.
    """
    from beam_job.reporting.page import write_report

    return write_report(path, group_of(ReportOptions, options))


def samples(directory: str, **options: Unpack[SampleArguments]) -> int:
    """Writes a small labelled set of examples; the same as ``beam-job samples``.

    Args:
      directory: A directory that does not exist or is empty; gets a folder per class, below folders for the splits.
      **options: The options of the command, by name.

    Returns:
      The number of examples.

    Raises:
      BeamJobError: the directory is not empty, or the packages that they are made from are not installed.
    """
    from beam_job.modalities.samples import write_samples

    return write_samples(directory, group_of(SampleOptions, options))


def _ignore(epoch: Epoch) -> None:
    """Ignores an epoch."""
