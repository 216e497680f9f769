"""What the command line can do, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from beam_job.core.options import ExtractOptions, head_options, model_options

if TYPE_CHECKING:
    from beam_job.beam.launch import RunResult
    from beam_job.dataset.verification import Verification
    from beam_job.extract.inspection import ModelReport
    from beam_job.extract.plan import Forecast
    from beam_job.heads.training import HeadResult
    from beam_job.report.page import ReportResult


def extract(
    input: str, output: str, *, beam_options: Sequence[str] = (), progress: bool = False, **options: Any
) -> RunResult:
    """Extracts the features of images into a dataset; the same as ``beam-job extract``.

    Args:
      input: A directory with a folder per class, a glob, or a .csv or .jsonl manifest.
      output: The dataset's directory; must be empty, unless ``overwrite=True``.
      beam_options: Beam's own options, such as ``["--runner=FlinkRunner"]``.
      progress: Whether to show progress on stderr.
      **options: Any other option of the command by its name, such as ``model`` or ``splits``.

    Returns:
      Counts, classes, errors and timings of the run.

    Raises:
      BeamJobError: the run could not be made or did not hold; the message is one clear sentence.
    """
    from beam_job.beam.launch import run_extract

    return run_extract(ExtractOptions.of(input=input, output=output, **options), beam_options, progress)


def plan(input: str, output: str, **options: Any) -> Forecast:
    """Says what :func:`extract` would do with the same options; the same as ``beam-job plan``.

    Args:
      input: As for :func:`extract`.
      output: As for :func:`extract`; nothing is written there.
      **options: As for :func:`extract`.

    Returns:
      Images, shards, what an earlier run has already, and how long the rest would take on this machine.

    Raises:
      BeamJobError: the run could not be made.
    """
    from beam_job.beam.launch import run_plan

    return run_plan(ExtractOptions.of(input=input, output=output, **options))


def inspect_model(model: str, **options: Any) -> ModelReport:
    """Looks at a model; the same as ``beam-job inspect-model``.

    Args:
      model: The handle, as ``extract`` takes it.
      **options: The other options of a model by their names, such as ``layer`` or ``image_size``.

    Returns:
      What it takes and gives, its layers, its speed on this machine, and the flags that are still needed.

    Raises:
      BeamJobError: it cannot be had, or is no model of images.
    """
    from beam_job.extract.inspection import inspect_model as inspect

    return inspect(model_options(model=model, **options))


def verify(path: str) -> Verification:
    """Checks that a dataset is whole; the same as ``beam-job verify``.

    Args:
      path: The directory that ``extract`` wrote.

    Returns:
      What is wrong, a line each; nothing when the dataset is whole.

    Raises:
      BeamJobError: there is no dataset at the path.
    """
    from beam_job.dataset import verification

    return verification.verify(path)


def train_head(path: str, **options: Any) -> HeadResult:
    """Trains a classifier head on a dataset; the same as ``beam-job train-head``.

    Args:
      path: The directory that ``extract`` wrote.
      **options: The options of the command by their names, such as ``hidden`` or ``seed``.

    Returns:
      Where the head is, its epochs, and what it is worth on the test split beside its baselines.

    Raises:
      BeamJobError: the dataset is not finished, or holds too little to learn from.
    """
    from beam_job.heads.training import train_head as train

    return train(path, head_options(**options))


def report(path: str, report: str | None = None, head: str | None = None, sample: int | None = None) -> ReportResult:
    """Writes the page of a dataset; the same as ``beam-job report``.

    Args:
      path: The directory that ``extract`` wrote.
      report: Where the page goes; by default beside the dataset, as ``OUT-report.html``.
      head: The directory of a head that was trained on it; by default ``OUT-head``, if it is there.
      sample: Images whose features are looked at, at most; by default 2,000.

    Returns:
      Where the page is, and what was found in the features.

    Raises:
      BeamJobError: there is no finished dataset, or what draws the page is not installed.
    """
    from beam_job.report.page import DEFAULT_SAMPLE, write_report

    return write_report(path, report, head, sample or DEFAULT_SAMPLE)
