"""What each runner needs to be told, and which of Beam's own options there are."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

from beam_job.errors import UsageError
from beam_job.extraction import available_cores
from beam_job.options import nearest

LOCAL_RUNNER = "FnApiRunner"
# DirectRunner tries to download the Prism runner before it falls back to this one.
_LOCAL_NAMES = frozenset({LOCAL_RUNNER, "DirectRunner", "BundleBasedDirectRunner"})


def beam_options(arguments: Sequence[str], known: Iterable[str] = ()) -> Any:
    """Beam's PipelineOptions from a command line.

    Args:
      arguments: What is left of a command line after our own options.
      known: Names of our own options, to suggest when one is misspelt.

    Returns:
      ``PipelineOptions``; the local runner when none is named.

    Raises:
      UsageError: an argument is no option of Beam's either; the sentence names the nearest one.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    _check_known(arguments, known)
    options = PipelineOptions(list(arguments))
    standard = options.view_as(StandardOptions)
    if standard.runner is None or standard.runner in _LOCAL_NAMES:
        standard.runner = LOCAL_RUNNER
    return options


def is_local(options: Any) -> bool:
    """Whether the run happens on this machine, in this process or its children."""
    from apache_beam.options.pipeline_options import StandardOptions

    return bool(options.view_as(StandardOptions).runner == LOCAL_RUNNER)


def runs_in_process(options: Any) -> bool:
    """Whether the DoFns run in this very process."""
    from apache_beam.options.pipeline_options import DirectOptions

    return is_local(options) and options.view_as(DirectOptions).direct_running_mode != "multi_processing"


def worker_threads(options: Any) -> int:
    """How many threads of a worker process decode and run the model, unless the user says."""
    from apache_beam.options.pipeline_options import DirectOptions

    cores = available_cores()
    if not is_local(options) or runs_in_process(options):
        return cores
    processes = options.view_as(DirectOptions).direct_num_workers or cores
    return max(1, cores // processes)


def _check_known(arguments: Sequence[str], known: Iterable[str]) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for group in _subclasses(PipelineOptions):
        add_arguments = group.__dict__.get("_add_argparse_args")
        if add_arguments:
            with contextlib.suppress(argparse.ArgumentError):
                add_arguments.__get__(None, group)(parser)
    words = io.StringIO()
    try:
        with contextlib.redirect_stderr(words):
            _, unknown = parser.parse_known_args(list(arguments))
    except SystemExit:
        raise UsageError(words.getvalue().strip().splitlines()[-1].removeprefix("error: ")) from None
    if unknown:
        names = [*(f"--{name}" for name in known), *parser._option_string_actions]
        raise UsageError(f"There is no option {unknown[0]!r}{nearest(unknown[0].partition('=')[0], names)}")


def _subclasses(cls: type[Any]) -> list[type[Any]]:
    return [found for child in cls.__subclasses__() for found in (child, *_subclasses(child))]
