"""beam-job extract: images in, a dataset of features and labels out.

Options of Beam's own, such as --runner=FlinkRunner, may follow; the runner is this machine unless one is named.
"""

from __future__ import annotations

import argparse
import json
import logging
from typing import TYPE_CHECKING, Any

from beam_job.cli.arguments import add_option, given_options
from beam_job.core.errors import UsageError
from beam_job.core.options import ExtractOptions, extract_fields
from beam_job.runtime import storage

if TYPE_CHECKING:
    from beam_job.beam.launch import RunResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One argument per option, in groups."""
    groups: dict[str, Any] = {}
    for group, field in extract_fields():
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        add_option(groups[group], field)
    parser.add_argument(
        "--config", metavar="FILE", help="Options from a YAML file, or from the run.json of an earlier run."
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="Say what would be done, and do nothing; the same as beam-job plan."
    )
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def read_options(arguments: argparse.Namespace) -> ExtractOptions:
    """The options from the command line and from ``--config``; the command line wins.

    Raises:
      UsageError: one of them is wrong or missing.
    """
    values = read_config(arguments.config) if arguments.config else {}
    values.update(given_options(arguments, (field for _, field in extract_fields())))
    return ExtractOptions.of(**values)


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Extracts, and prints the summary."""
    if arguments.dry_run:
        from beam_job.cli import plan

        return plan.run(arguments, rest)
    options = read_options(arguments)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)

    from beam_job.beam.launch import run_extract, write_template
    from beam_job.beam.runners import writes_template
    from beam_job.cli.summary import print_summary

    if writes_template(rest):
        place = write_template(options, rest)
        print(json.dumps({"template": place}) if arguments.json else f"the job's template is at {place}")
        return 0
    result = run_extract(options, rest, progress=not arguments.json)
    if arguments.json:
        print(json.dumps(_as_json(result)))
    else:
        print_summary(result)
    return 0


def read_config(path: str) -> dict[str, Any]:
    """Options from a YAML file (a mapping of option to value) or from a run.json.

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


def _as_json(result: RunResult) -> dict[str, Any]:
    import dataclasses

    return {**dataclasses.asdict(result), "images_per_second": result.images_per_second}
