"""What a command is, and how it runs: its module adds arguments to a parser, and runs with what was parsed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from beam_job.core.errors import UsageError
from beam_job.core.options import WorkOptions

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Command(Protocol):
    """The module of a command. Its docstring is ``beam-job NAME: SUMMARY``, and more for its help."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments."""

    def run(self, arguments: argparse.Namespace, rest: list[str]) -> int:
        """Runs the command and returns the exit code; ``rest`` are arguments that no option took."""


class Parser(argparse.ArgumentParser):
    """Reports a mistake as a UsageError, and leaves the exit code to the caller."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See '{self.prog} --help'.")


def add_command(parser: Any, command: Command) -> None:
    """Adds the arguments of a command to its parser, and those that every command has."""
    command.add_arguments(parser)
    parser.add_argument(
        "--debug", action="store_true", help="Show the traceback of an error, and debug messages of this package."
    )


def run_command(name: str, command: Command, arguments: Sequence[str]) -> int:
    """Runs a command with its arguments, and returns its exit code.

    Raises:
      BeamJobError: the command failed.
    """
    parser = Parser(prog=f"beam-job {name}", allow_abbrev=False)
    add_command(parser, command)
    known, rest = parser.parse_known_args(arguments)
    return command.run(known, rest)


def no_more(rest: Sequence[str], command: str) -> None:
    """Checks that no argument is left, for commands that pass none on to Beam.

    Raises:
      UsageError: one is left.
    """
    if rest:
        raise UsageError(f"There is no option {rest[0]!r}. See 'beam-job {command} --help'.")


def set_up_logging(debug: bool) -> None:
    """Writes log messages of this package to stderr, all of them with ``debug``; Beam's own only with ``debug``."""
    logging.basicConfig(stream=sys.stderr, format=_LOG_FORMAT)
    set_log_level("debug" if debug else WorkOptions.log_level)
    logging.getLogger("apache_beam").setLevel(logging.WARNING if debug else logging.CRITICAL)


def set_log_level(level: str) -> None:
    """Sets the lowest level, as ``--log_level`` names it, of this package's messages in this process."""
    logging.getLogger("beam_job").setLevel(level.upper())
