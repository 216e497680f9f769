"""beam-job verify: is a dataset whole? Reads every byte and says everything that is wrong, a line each."""

from __future__ import annotations

import argparse
import dataclasses
import json

from beam_job.core.errors import EXIT_DONE, EXIT_FAILED, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset."""
    parser.add_argument("path", metavar="OUT", help="The dataset's directory, local or gs://.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Verifies, and prints what is wrong."""
    if rest:
        raise UsageError(f"There is no option {rest[0]!r}. See 'beam-job verify --help'.")

    from beam_job.dataset.verification import verify

    found = verify(arguments.path)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        for problem in found.problems:
            print(problem)
        if not found.problems:
            print(f"{found.output} is whole: {found.records:,} records in {found.shards:,} shards")
    return EXIT_FAILED if found.problems else EXIT_DONE
