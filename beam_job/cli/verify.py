"""beam-job verify: checks that a dataset is complete; reads every byte, and prints a line for each problem."""

from __future__ import annotations

import argparse
import dataclasses
import json

from beam_job import api
from beam_job.cli.command import no_more
from beam_job.core.errors import EXIT_DONE, EXIT_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset."""
    parser.add_argument("path", metavar="OUT", help="The dataset's directory, local or gs://.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Verifies, and prints the problems."""
    no_more(rest, "verify")
    found = api.verify(arguments.path)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        for problem in found.problems:
            print(problem)
        if not found.problems:
            print(f"{found.output} is complete: {found.records:,} records in {found.shards:,} shards")
    return EXIT_FAILED if found.problems else EXIT_DONE
