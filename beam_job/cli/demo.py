"""beam-job demo: samples, extract, verify, train-head and report in one go, on a small set of real photographs."""

from __future__ import annotations

import argparse
import os
import shutil

from beam_job.cli import extract, report, samples, train_head, verify
from beam_job.cli.arguments import add_option
from beam_job.cli.command import Command, no_more, run_command
from beam_job.core.errors import OutputError
from beam_job.core.option_fields import group_fields
from beam_job.core.options import SampleOptions

_SPLITS = "train=0.7,validation=0.15,test=0.15"
_PARTS = ("samples", "features", "features-head", "features-report.html")
_COMMANDS: dict[str, Command] = {
    "samples": samples,
    "extract": extract,
    "verify": verify,
    "train-head": train_head,
    "report": report,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The directory, and the number of photographs."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        default="beam-job-demo",
        help="Where everything goes. Default: beam-job-demo.",
    )
    for field in group_fields(SampleOptions):
        add_option(parser, field)


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Runs each step as its own command, and prints the command."""
    no_more(rest, "demo")
    _clear(arguments.directory)
    directory, features = (os.path.join(arguments.directory, part) for part in _PARTS[:2])
    names = (field.name for field in group_fields(SampleOptions))
    chosen = [f"--{name}={value}" for name in names if (value := getattr(arguments, name)) is not None]
    steps = (
        ["samples", directory, *chosen],
        ["extract", f"--input={directory}", f"--output={features}", f"--splits={_SPLITS}"],
        ["verify", features],
        ["train-head", features],
        ["report", features],
    )
    for name, *words in steps:
        print(f"\n$ beam-job {' '.join([name, *words])}", flush=True)
        if code := run_command(name, _COMMANDS[name], words):
            return code
    page = os.path.abspath(f"{features}-report.html")
    print(f"\nopen the report: file://{page}")
    return 0


def _clear(directory: str) -> None:
    """Removes what an earlier demo left, and nothing else.

    Raises:
      OutputError: something else is there.
    """
    found = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    if foreign := sorted(found.difference(_PARTS)):
        raise OutputError(
            f"Expected {directory} to be empty or an earlier demo, found {foreign[0]}; choose another DIR."
        )
    for part in found:
        path = os.path.join(directory, part)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
