"""``beam-job COMMAND``: finds the command, runs it, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Mapping, Sequence

from beam_job import __version__
from beam_job.cli import demo, extract, inspect_model, plan, report, samples, train_head, verify
from beam_job.cli.command import Command, Parser, add_command, set_up_logging
from beam_job.core.errors import EXIT_INTERRUPTED, EXIT_USAGE, BeamJobError, UsageError
from beam_job.core.suggestions import did_you_mean

COMMANDS: Mapping[str, Command] = {
    "extract": extract,
    "plan": plan,
    "inspect-model": inspect_model,
    "samples": samples,
    "verify": verify,
    "train-head": train_head,
    "report": report,
    "demo": demo,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(prog="beam-job", description="Features of examples, computed once.", allow_abbrev=False)
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
        add_command(command, module)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
      arguments: Without the program's name; by default those of this process.

    Returns:
      The exit code: 0 done, 1 the job failed, 2 wrong usage or input, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise UsageError(f"There is no command {arguments[0]!r}{did_you_mean(arguments[0], COMMANDS)}")
        parser = build_parser()
        known, rest = parser.parse_known_args(arguments)
        if known.command is None:
            parser.print_help()
            return EXIT_USAGE
        set_up_logging(known.debug)
        return COMMANDS[known.command].run(known, rest)
    except BeamJobError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"beam-job: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("beam-job: interrupted.", file=sys.stderr, flush=True)
        # Worker threads are in the middle of a shard; nothing that they hold is committed, so none has to end first.
        os._exit(EXIT_INTERRUPTED)
