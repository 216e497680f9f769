"""beam-job demo: samples, extract, verify, train-head and report in one go, on a small set of real photographs."""

from __future__ import annotations

import argparse
import os
import shutil

from beam_job.core.errors import OutputError, UsageError

_SPLITS = "train=0.7,validation=0.15,test=0.15"
_PARTS = ("samples", "features", "features-head", "features-report.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The directory, and how many photographs."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        default="beam-job-demo",
        help="Where everything goes. Default: beam-job-demo.",
    )
    parser.add_argument("--images_per_class", type=int, default=50, metavar="N", help="Default: 50.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Takes each step as its own command would, and says which."""
    if rest:
        raise UsageError(f"There is no option {rest[0]!r}. See 'beam-job demo --help'.")
    from beam_job.cli.main import main

    _clear(arguments.directory)
    samples, features = (os.path.join(arguments.directory, part) for part in _PARTS[:2])
    steps = (
        ["samples", samples, f"--images_per_class={arguments.images_per_class}"],
        ["extract", f"--input={samples}", f"--output={features}", f"--splits={_SPLITS}"],
        ["verify", features],
        ["train-head", features],
        ["report", features],
    )
    for step in steps:
        print(f"\n$ beam-job {' '.join(step)}", flush=True)
        if code := main(step):
            return code
    page = os.path.abspath(f"{features}-report.html")
    print(f"\nlook at it: file://{page}")
    return 0


def _clear(directory: str) -> None:
    """Removes what an earlier demo has left, and nothing else.

    Raises:
      OutputError: something else is there.
    """
    there = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    if foreign := sorted(there.difference(_PARTS)):
        raise OutputError(
            f"Expected {directory} to be empty or an earlier demo, found {foreign[0]}; choose another DIR."
        )
    for part in there:
        path = os.path.join(directory, part)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
