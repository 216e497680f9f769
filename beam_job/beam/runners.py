"""What each runner needs, and which options Beam has."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from beam_job.beam.presets import (
    DATAFLOW_RUNNER,
    FLINK_RUNNER,
    LOCAL_RUNNER,
    PORTABLE_RUNNER,
    PRESETS,
    SPARK_RUNNER,
)
from beam_job.core.errors import UsageError
from beam_job.core.options import ExtractOptions
from beam_job.core.suggestions import did_you_mean
from beam_job.runtime import storage
from beam_job.runtime.cores import available_cores

# DirectRunner tries to download the Prism runner before it falls back to the local one.
_LOCAL_NAMES = frozenset({LOCAL_RUNNER, "DirectRunner", "BundleBasedDirectRunner"})
# A cluster inside the job server, whose workers are this process: no environment has to be named.
_EMBEDDED_FLINK = ("[auto]", "[local]")


def run_options(options: ExtractOptions, arguments: Sequence[str], progress: bool) -> Any:
    """Beam's PipelineOptions for a run: those of its preset, and then those that were given, which win.

    Args:
      options: All options of the run.
      arguments: Beam's own options, as on a command line.
      progress: Whether to print the preset.

    Raises:
      UsageError: as for :func:`beam_options`; or the workers cannot reach the input or the output.
    """
    place = options.work.on
    preset = PRESETS[place] if place else ()
    if place and progress:
        print(f"--on={place} stands for {shlex.join(preset)}", file=sys.stderr, flush=True)
    levels = json.dumps({"beam_job": options.work.log_level.upper()})
    found = beam_options([f"--sdk_harness_log_level_overrides={levels}", *preset, *arguments], options.flat())
    for path, flag in ((options.source.input, "--input"), (options.output.output, "--output")):
        check_place(found, path, flag)
    return found


def beam_options(arguments: Sequence[str], known: Iterable[str] = ()) -> Any:
    """Beam's PipelineOptions from a command line.

    Args:
      arguments: Beam's own options, as on a command line.
      known: Names of our own options, to suggest when one is misspelt.

    Returns:
      ``PipelineOptions``; with the local runner when none is named.

    Raises:
      UsageError: Beam does not know an argument, the message names the most similar one; or the runner needs an option
        that is missing, the message names it.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    _check_known(arguments, known)
    options = PipelineOptions(list(arguments))
    standard = options.view_as(StandardOptions)
    standard.runner = _runner_name(standard.runner)
    _check_complete(standard.runner, options.get_all_options())
    return options


def _runner_name(given: str | None) -> str:
    """The name of a runner as Beam spells it; a dotted path of a class stays as it is.

    Raises:
      UsageError: Beam knows no such runner.
    """
    from apache_beam.options.pipeline_options import StandardOptions

    if given is None:
        return LOCAL_RUNNER
    if "." in given:
        module, _, name = given.rpartition(".")
        try:
            getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UsageError(f"There is no --runner={given}: {error}.") from None
        return given
    known = {name.lower(): name for name in (*_LOCAL_NAMES, *StandardOptions.KNOWN_RUNNER_NAMES)}
    found = known.get(given.lower()) or known.get(f"{given.lower()}runner")
    if found is None:
        raise UsageError(f"There is no --runner={given}{did_you_mean(given, known.values())}")
    return LOCAL_RUNNER if found in _LOCAL_NAMES else found


def is_local(options: Any) -> bool:
    """Whether the run is on this machine, in this process or its children."""
    from apache_beam.options.pipeline_options import StandardOptions

    return bool(options.view_as(StandardOptions).runner == LOCAL_RUNNER)


def runs_in_process(options: Any) -> bool:
    """Whether the DoFns run in this process."""
    from apache_beam.options.pipeline_options import DirectOptions

    return is_local(options) and options.view_as(DirectOptions).direct_running_mode != "multi_processing"


def processes_per_machine(options: Any) -> int:
    """The number of worker processes that share the cores of a machine, as far as the options say."""
    found = options.get_all_options()
    if is_local(options):
        return 1 if runs_in_process(options) else found["direct_num_workers"] or available_cores()
    if found["runner"] in (FLINK_RUNNER, SPARK_RUNNER, PORTABLE_RUNNER):
        return max(1, int(found.get("sdk_worker_parallelism") or 1))
    return 1


def check_place(options: Any, path: str, flag: str) -> None:
    """Checks that the workers can reach a path.

    Raises:
      UsageError: it is on this machine, and they are not.
    """
    if options.get_all_options()["runner"] == DATAFLOW_RUNNER and storage.is_local(path):
        raise UsageError(f"Dataflow's workers cannot read this machine's disk: expected {flag}=gs://..., found {path}.")


def _check_complete(runner: str, found: dict[str, Any]) -> None:
    checks: dict[str, Callable[[dict[str, Any]], str | None]] = {
        FLINK_RUNNER: _missing_for_flink,
        SPARK_RUNNER: _missing_for_spark,
        DATAFLOW_RUNNER: _missing_for_dataflow,
        PORTABLE_RUNNER: _missing_for_portable,
    }
    if runner in checks and (missing := checks[runner](found)):
        raise UsageError(f"{runner} {missing}.")


def _missing_for_flink(found: dict[str, Any]) -> str | None:
    if found["environment_type"] and found["flink_master"] in _EMBEDDED_FLINK:
        return "needs the address of the cluster's job manager: --flink_master=HOST:8081"
    if found["flink_master"] in _EMBEDDED_FLINK:
        return _missing_for_jar(found, "flink")
    return _missing_for_jar(found, "flink") or _missing_environment(found)


def _missing_for_spark(found: dict[str, Any]) -> str | None:
    return _missing_for_jar(found, "spark") or _missing_environment(found)


def _missing_for_portable(found: dict[str, Any]) -> str | None:
    if not found["job_endpoint"]:
        return "needs the address of a job service: --job_endpoint=HOST:PORT"
    return _missing_environment(found)


def _missing_for_jar(found: dict[str, Any], engine: str) -> str | None:
    if not found[f"{engine}_submit_uber_jar"] and not shutil.which("java"):
        return f"needs Java for Beam's job server; install it, or have the cluster run it: --{engine}_submit_uber_jar"
    jar = found[f"{engine}_job_server_jar"]
    if jar and storage.is_local(jar) and not os.path.exists(jar):
        return f"needs Beam's job server, and there is no file at --{engine}_job_server_jar={jar}"
    return None


def _missing_environment(found: dict[str, Any]) -> str | None:
    kind, config = found["environment_type"], found["environment_config"]
    if not kind and not found["sdk_container_image"]:
        return (
            "would start its workers from Beam's own container, which does not have beam_job: name yours with "
            "--sdk_container_image, or --environment_type=PROCESS, EXTERNAL or LOOPBACK (--on=flink stands for PROCESS)"
        )
    if kind == "EXTERNAL" and not config:
        return "needs the address of the worker pool: --environment_config=HOST:50000"
    if kind == "PROCESS":
        try:
            command = json.loads(config or "{}")["command"]
        except (ValueError, KeyError, TypeError):
            command = None
        if not isinstance(command, str):
            return 'needs the workers\' command: --environment_config={"command": "/path/to/beam-job-worker"}'
    return None


def _missing_for_dataflow(found: dict[str, Any]) -> str | None:
    needed = [f"--{name}" for name in ("project", "region") if not found[name]]
    if not (found["temp_location"] or found["staging_location"]):
        needed.append("--temp_location=gs://...")
    if needed:
        return f"needs {' and '.join(needed)}"
    if not found["sdk_container_image"] and not found["setup_file"]:
        return (
            "would start its workers without beam_job: name a container that has it with --sdk_container_image "
            "(launch/dataflow/ builds one)"
        )
    return None


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
    if unknown and not unknown[0].startswith("-"):
        raise UsageError(
            f"The argument {unknown[0]!r} belongs to no option. If the shell has made it from a pattern, quote the "
            f"pattern, as in --input '*.jpg'."
        )
    if unknown:
        names = [*(f"--{name}" for name in known), *parser._option_string_actions]
        raise UsageError(f"There is no option {unknown[0]!r}{did_you_mean(unknown[0].partition('=')[0], names)}")


def _subclasses(cls: type[Any]) -> list[type[Any]]:
    return [found for child in cls.__subclasses__() for found in (child, *_subclasses(child))]
