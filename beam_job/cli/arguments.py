"""From the options' fields to arguments of a command, and back."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

from beam_job.core.options import coerce, is_repeatable, value_type

Field = dataclasses.Field[Any]


def add_option(parser: Any, field: Field) -> None:
    """An argument for an option; what is given stays text until :func:`given_options` checks it."""
    help_text = field.metadata["help"].replace("%", "%%")
    if field.default not in (None, False) and isinstance(field.default, (str, int, float)):
        help_text += f" Default: {field.default}."
    how: dict[str, Any] = {"metavar": field.metadata["metavar"], "help": help_text}
    if value_type(field) is bool:
        how |= {"nargs": "?", "const": True, "default": None, "metavar": "true|false"}
    elif is_repeatable(field):
        how |= {"action": "append"}
    parser.add_argument(f"--{field.name}", **how)


def given_options(arguments: argparse.Namespace, fields: Iterable[Field]) -> dict[str, Any]:
    """Option name to value, for those that stand on the command line.

    Raises:
      UsageError: a value is none that the option can have.
    """
    given = ((field, getattr(arguments, field.name)) for field in fields)
    return {field.name: coerce(field.name, field, value) for field, value in given if value is not None}
