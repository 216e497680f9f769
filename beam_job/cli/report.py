"""beam-job report: one page that shows a dataset, its features and its head, without a network."""

from __future__ import annotations

import argparse
import dataclasses
import json

from beam_job.core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, and where the page goes."""
    parser.add_argument("path", metavar="OUT", help="The dataset's directory, local or gs://.")
    parser.add_argument(
        "--report", metavar="FILE", help="Where the page goes; by default beside OUT, as OUT-report.html."
    )
    parser.add_argument(
        "--head", metavar="DIR", help="A head that was trained on it; by default OUT-head, if it is there."
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="Images whose features are looked at, at most. Default: 2000."
    )
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Writes the page, and says where it is."""
    if rest:
        raise UsageError(f"There is no option {rest[0]!r}. See 'beam-job report --help'.")
    if arguments.sample is not None and arguments.sample < 1:
        raise UsageError(f"--sample is at least 1, found {arguments.sample}.")

    from beam_job.api import report

    result = report(arguments.path, arguments.report, arguments.head, arguments.sample)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(result)))
        return 0
    of_all = f" of {result.records:,}" if result.sampled < result.records else ""
    print(f"{result.report}: {result.sampled:,}{of_all} images looked at")
    if found := result.health:
        print(
            f"{len(found.duplicates):,} near-duplicates, {len(found.leaks):,} of them across splits; "
            f"{len(found.doubted):,} labels to doubt, {len(found.outliers):,} outliers, {found.dead} dead dimensions"
        )
    return 0
