"""beam-job demo: samples, extract, verify, train-head and report in one go, on photographs, texts or sounds."""

from __future__ import annotations

import argparse
import os
import shutil

from beam_job.cli import extract, report, samples, train_head, verify
from beam_job.cli.arguments import add_option
from beam_job.cli.command import Command, no_more, run_command
from beam_job.core.errors import OutputError
from beam_job.core.option_fields import Field, group_fields
from beam_job.core.options import DEFAULT_MODALITY, SampleOptions

# What the accuracy of a demo says, by modality.
_CAVEATS = {
    "image": "These are crops of twelve photographs. Training, validation and test are cut from different parts of "
    "each, but a class is still one photograph: the demo shows that everything runs, not how well a model tells "
    "things apart.",
    "text": "These are docstrings of scikit-learn by subpackage. Training, validation and test have different source "
    "files, but their authors repeat phrases, and several topics are close to each other.",
    "audio": "These are synthetic sounds: the demo shows that everything runs, not how well a model tells sounds "
    "apart.",
}
_PARTS = ("samples", "features", "features-head", "features-report.html")
_COMMANDS: dict[str, Command] = {
    "samples": samples,
    "extract": extract,
    "verify": verify,
    "train-head": train_head,
    "report": report,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The directory, and the options of the samples."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        default="beam-job-demo",
        help="Where everything goes. Default: beam-job-demo.",
    )
    for field in _fields():
        add_option(parser, field)


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Runs each step as its own command, and prints the command."""
    no_more(rest, "demo")
    _clear(arguments.directory)
    directory, features = (os.path.join(arguments.directory, part) for part in _PARTS[:2])
    names = (field.name for field in _fields())
    chosen = [f"--{name}={value}" for name in names if (value := getattr(arguments, name)) is not None]
    modality = arguments.modality or DEFAULT_MODALITY
    model = [f"--modality={modality}"] if arguments.modality else []
    steps = (
        ["samples", directory, *chosen],
        ["extract", f"--input={directory}", f"--output={features}", *model],
        ["verify", features],
        ["train-head", features],
        ["report", features],
    )
    for name, *words in steps:
        print(f"\n$ beam-job {' '.join([name, *words])}", flush=True)
        if code := run_command(name, _COMMANDS[name], words):
            return code
    print(f"\n{_CAVEATS[modality]}")
    page = os.path.abspath(f"{features}-report.html")
    print(f"\nopen the report: file://{page}")
    return 0


def _fields() -> list[Field]:
    """The options of the samples but for the set; the caveat is about the first one of a modality."""
    return [field for field in group_fields(SampleOptions) if field.name != "set"]


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
