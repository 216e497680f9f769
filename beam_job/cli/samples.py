"""beam-job samples: a small labelled set of real photographs, without a network."""

from __future__ import annotations

import argparse

from beam_job.core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The directory, and how many crops."""
    parser.add_argument("directory", metavar="DIR", help="An empty directory, which gets a folder per class.")
    parser.add_argument("--images_per_class", type=int, default=50, metavar="N", help="Default: 50.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="Another seed gives other crops.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Writes the samples."""
    if rest:
        raise UsageError(f"There is no option {rest[0]!r}. See 'beam-job samples --help'.")
    if arguments.images_per_class < 1:
        raise UsageError(f"--images_per_class is at least 1, found {arguments.images_per_class}.")

    from beam_job.modalities.image.samples import write_samples

    count = write_samples(arguments.directory, arguments.images_per_class, arguments.seed)
    print(f"{count:,} photographs in {arguments.directory}")
    return 0
