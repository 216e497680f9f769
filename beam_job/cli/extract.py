"""beam-job extract: examples in, a dataset of features and labels out.

Beam's own options, such as --runner=FlinkRunner, may follow; without a runner the job runs on this machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from beam_job import api
from beam_job.cli import plan
from beam_job.cli.arguments import add_extract_arguments, read_extract_options
from beam_job.cli.summary import print_summary

_TEMPLATE = "--template_location"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An argument per option."""
    add_extract_arguments(parser)
    parser.add_argument(
        "--dry_run", action="store_true", help="Say what would be done, and do nothing; the same as beam-job plan."
    )


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Extracts, and prints the summary."""
    if arguments.dry_run:
        return plan.run(arguments, rest)
    options = read_extract_options(arguments)
    if any(argument.partition("=")[0] == _TEMPLATE for argument in rest):
        place = api.write_template(**options, beam_options=rest)
        print(json.dumps({"template": place}) if arguments.json else f"the job's template is at {place}")
        return 0
    result = api.extract(**options, beam_options=rest, progress=not arguments.json)
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(result), "examples_per_second": result.examples_per_second}))
    else:
        print_summary(result)
    return 0
