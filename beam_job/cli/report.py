"""beam-job report: an HTML page about a dataset, its features and its head, which needs no network."""

from __future__ import annotations

import argparse
import dataclasses
import json

from beam_job import api
from beam_job.cli.arguments import add_option, given_options
from beam_job.cli.command import no_more
from beam_job.core.option_fields import group_fields
from beam_job.core.options import ReportOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, and the options of the report."""
    parser.add_argument("path", metavar="OUT", help="The dataset's directory, local or gs://.")
    for field in group_fields(ReportOptions):
        add_option(parser, field)
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Writes the page, and says where it is."""
    no_more(rest, "report")
    result = api.report(arguments.path, **given_options(arguments, group_fields(ReportOptions)))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(result)))
        return 0
    of_all = f" of {result.records:,}" if result.sampled < result.records else ""
    print(f"{result.report}: {result.sampled:,}{of_all} examples analysed")
    if found := result.health:
        print(
            f"{len(found.duplicates):,} near-duplicates, {len(found.leaks):,} of them across splits; "
            f"{len(found.doubtful):,} doubtful labels, {len(found.outliers):,} outliers, {found.dead} dead dimensions"
        )
    return 0
