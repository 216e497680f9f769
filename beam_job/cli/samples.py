"""beam-job samples: a small labelled set of examples, made without a network."""

from __future__ import annotations

import argparse

from beam_job import api
from beam_job.cli.arguments import add_option, given_options
from beam_job.cli.command import no_more
from beam_job.core.option_fields import group_fields
from beam_job.core.options import SampleOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The directory, and the options of the samples."""
    parser.add_argument("directory", metavar="DIR", help="An empty directory; gets a folder per class, and per split.")
    for field in group_fields(SampleOptions):
        add_option(parser, field)


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Writes the samples."""
    no_more(rest, "samples")
    count = api.samples(arguments.directory, **given_options(arguments, group_fields(SampleOptions)))
    print(f"{count:,} examples in {arguments.directory}")
    return 0
