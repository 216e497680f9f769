"""From the fields of options to arguments of a command, and back."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from beam_job.cli.command import set_log_level
from beam_job.core.errors import UsageError
from beam_job.core.option_fields import Field, coerce, is_repeatable, metavar_of, value_type
from beam_job.core.options import extract_fields
from beam_job.runtime import storage


def add_option(parser: Any, field: Field) -> None:
    """Adds an argument for an option; its value stays text until :func:`given_options` checks it."""
    help_text = field.metadata["help"].replace("%", "%%")
    if field.default not in (None, False, "") and isinstance(field.default, (str, int, float)):
        help_text += f" Default: {field.default}."
    how: dict[str, Any] = {"metavar": metavar_of(field), "help": help_text}
    if value_type(field) is bool:
        how |= {"nargs": "?", "const": True, "default": None}
    elif is_repeatable(field):
        how |= {"action": "append"}
    parser.add_argument(f"--{field.name}", **how)


def given_options(arguments: argparse.Namespace, fields: Iterable[Field]) -> dict[str, Any]:
    """Option name to value, for the options that were given.

    Raises:
      UsageError: a value is illegal.
    """
    given = ((field, getattr(arguments, field.name)) for field in fields)
    return {field.name: coerce(field.name, field, value) for field, value in given if value is not None}


def add_extract_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that extract and plan share: an argument per option, in groups, and ``--config``."""
    groups: dict[str, Any] = {}
    for group, field in extract_fields():
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        add_option(groups[group], field)
    parser.add_argument(
        "--config", metavar="FILE", help="Options from a YAML file, or from the run.json of an earlier run."
    )
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def read_extract_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of extract and plan from the command line and from ``--config``; the command line wins.

    The log level applies from here on; with ``--debug`` it is ``debug``, in the workers too.

    Raises:
      UsageError: one of them is illegal, or the input or the output is missing.
    """
    fields = {field.name: field for _, field in extract_fields()}
    values = read_config(arguments.config) if arguments.config else {}
    values.update(given_options(arguments, fields.values()))
    for name in ("input", "output"):
        if name not in values:
            raise UsageError(f"--{name} is required: {fields[name].metadata['help']}")
    if arguments.debug:
        values["log_level"] = "debug"
    if "log_level" in values:
        set_log_level(coerce("log_level", fields["log_level"], values["log_level"]))
    return values


def read_config(path: str) -> dict[str, Any]:
    """Options from a YAML file (a mapping of options to values) or from a run.json.

    Raises:
      UsageError: it is neither.
    """
    import yaml

    try:
        content = yaml.safe_load(storage.read_bytes(storage.absolute(path)))
    except FileNotFoundError:
        raise UsageError(f"There is no file at --config={path}.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config={path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if isinstance(content, dict) and "format_version" in content:
        content = content.get("options")
    if not isinstance(content, dict):
        raise UsageError(f"Expected --config={path} to be a mapping of options to values.")
    return {str(name): value for name, value in content.items() if value is not None}
