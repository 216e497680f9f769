"""``beam-job COMMAND``: finds the command, runs it, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from beam_job import __version__
from beam_job.cli import demo, extract, inspect_model, plan, report, samples, train_head, verify
from beam_job.core.errors import EXIT_INTERRUPTED, BeamJobError, UsageError
from beam_job.core.options import nearest

COMMANDS = {
    "extract": extract,
    "plan": plan,
    "inspect-model": inspect_model,
    "samples": samples,
    "verify": verify,
    "train-head": train_head,
    "report": report,
    "demo": demo,
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and leaves the exit code to the caller."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See '{self.prog} --help'.")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(prog="beam-job", description="Image features, computed once.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"beam-job {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(
            name,
            help=summary.partition(": ")[2],
            description=module.__doc__,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
      arguments: Without the program's name; those of this process by default.

    Returns:
      The exit code: 0 done, 1 the job failed, 2 wrong usage or input, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise UsageError(f"There is no command {arguments[0]!r}{nearest(arguments[0], list(COMMANDS))}")
        parser = build_parser()
        known, rest = parser.parse_known_args(arguments)
        if known.command is None:
            parser.print_help()
            return 2
        run: Callable[[argparse.Namespace, list[str]], int] = COMMANDS[known.command].run
        return run(known, rest)
    except BeamJobError as error:
        print(f"beam-job: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("beam-job: interrupted.", file=sys.stderr, flush=True)
        # Worker threads are in the middle of a shard; nothing they hold is committed, so nobody needs to wait for them.
        os._exit(EXIT_INTERRUPTED)
