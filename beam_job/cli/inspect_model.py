"""beam-job inspect-model: a model's input, outputs, layers and speed, and the flags that it still needs."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from beam_job import api
from beam_job.cli.arguments import add_option, given_options
from beam_job.cli.command import no_more
from beam_job.core.option_fields import Field, group_fields
from beam_job.core.options import ModelOptions

if TYPE_CHECKING:
    from beam_job.extraction.inspection import ModelReport

_LAYERS_SHOWN = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The handle, and the options for what a model does not declare."""
    parser.add_argument("handle", metavar="M", help="The model, as for --model of extract.")
    for field in _fields():
        add_option(parser, field)
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints the report."""
    no_more(rest, "inspect-model")
    report = api.inspect_model(arguments.handle, **given_options(arguments, _fields()))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        _print(report)
    return 0


def _fields() -> list[Field]:
    return [field for field in group_fields(ModelOptions) if field.name != "model"]


def _print(report: ModelReport) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _facts(report):
        table.add_row(name, escape(value))
    console.print(table)
    _print_layers(console, "what --layer may name", report.outputs)
    if len(report.outputs) <= 2:  # a model that names no layers
        _print_layers(console, "tensors of the graph, also for --layer", report.tensors)
    for sentence in report.needed:
        console.print(f"\n[bold]still needed:[/bold] {escape(sentence)}")


def _facts(report: ModelReport) -> list[tuple[str, str]]:
    facts = [("model", f"{report.handle} ({report.form})"), ("digest", report.digest)]
    if report.modality:
        facts.append(("modality", report.modality))
    facts += [
        ("preprocessing" if number == 0 else "", f"{name} {value}")
        for number, (name, value) in enumerate((report.preprocessing or {}).items())
        if value is not None
    ]
    if report.parameters is not None:
        facts.append(("parameters", f"{report.parameters:,}"))
    facts += [("stored", f"{name} {list(shape)}") for name, shape in report.features.items()]
    if report.milliseconds is not None:
        facts.append(("speed", f"{report.milliseconds:.1f} ms per example with TensorFlow on one core of this machine"))
    return facts


def _print_layers(console: Any, title: str, layers: Any) -> None:
    from rich.markup import escape

    if not layers:
        return
    console.print(f"\n[bold]{title}[/bold]")
    names = list(layers)
    if len(names) > _LAYERS_SHOWN:
        console.print(f"  ... {len(names) - _LAYERS_SHOWN:,} before these; --json lists all")
    for name in names[-_LAYERS_SHOWN:]:
        shape = layers[name]
        console.print(f"  {escape(name)}  {escape(str(list(shape))) if shape is not None else ''}", soft_wrap=True)
