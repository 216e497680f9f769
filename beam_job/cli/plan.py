"""beam-job plan: what extract would do with the same options, without doing it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from beam_job import api
from beam_job.cli.arguments import add_extract_arguments, read_extract_options

if TYPE_CHECKING:
    from beam_job.extraction.plan import Plan

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of extract."""
    add_extract_arguments(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints the plan."""
    options = read_extract_options(arguments)
    found = api.plan(**options, beam_options=rest, progress=not arguments.json)
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(found), "total": found.total, "to_extract": found.to_extract}))
    else:
        _print(found)
    return 0


def _print(found: Plan) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _facts(found):
        table.add_row(name, escape(value))
    Console(highlight=False).print(table)


def _facts(found: Plan) -> list[tuple[str, str]]:
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in found.features.items())
    facts = [("examples", f"{found.total:,} in {found.classes:,} classes")]
    facts += [
        ("split", f"{split}: {count:,} examples in {found.shards[split]:,} shards")
        for split, count in found.examples.items()
    ]
    facts.append(("model", f"{found.model['handle']}: {shapes}"))
    facts.append(("engine", f"{found.engine['name']} in {found.engine['precision']}, {found.engine['reason']}"))
    new = found.to_extract - found.changed - found.retried
    fresh = f"{new:,} new, {found.changed:,} changed, {found.retried:,} that failed before"
    facts.append(("to extract", f"{found.to_extract:,}: {fresh}"))
    facts.append(("carried over", f"{found.carried_over:,}; {found.removed:,} are no longer in the input"))
    if found.seconds is not None and found.output_bytes is not None:
        facts.append(
            ("time", f"about {_duration(found.seconds)}, at {found.examples_per_second:.0f} examples/s on this machine")
        )
        facts.append(("output", f"about {_size(found.output_bytes)}"))
    else:
        facts.append(("time", "unknown: none of the first examples gives features"))
    facts += [("note", note) for note in found.notes]
    return facts


def _duration(seconds: float) -> str:
    """Seconds in a readable unit.

    >>> _duration(8.2), _duration(600), _duration(90000)
    ('8 s', '10 min', '25.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    """Bytes in a readable unit.

    >>> _size(512), _size(5_200_000)
    ('512 bytes', '5.2 MB')
    """
    number = 0
    while count >= 1000 and number < len(_UNITS) - 1:
        count, number = count / 1000, number + 1
    return f"{count:.1f} {_UNITS[number]}" if number else f"{count:.0f} bytes"
