"""beam-job inspect-model: what a model takes and gives, its layers, its speed here, and the flags still needed."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from beam_job.cli.arguments import add_option, given_options
from beam_job.core.errors import UsageError
from beam_job.core.options import ModelOptions, group_fields, model_options

if TYPE_CHECKING:
    from beam_job.extract.inspection import ModelReport

_LAYERS_SHOWN = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The handle, and the options that say what a model does not say itself."""
    parser.add_argument("handle", metavar="M", help="The model, as --model of extract has it.")
    for field in _fields():
        add_option(parser, field)
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints the report."""
    if rest:
        raise UsageError(f"There is no option {rest[0]!r}. See 'beam-job inspect-model --help'.")
    options = model_options(model=arguments.handle, **given_options(arguments, _fields()))

    from beam_job.extract.inspection import inspect_model

    report = inspect_model(options)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        _print(report)
    return 0


def _fields() -> list[dataclasses.Field[Any]]:
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
    if len(report.outputs) <= 2:  # a model without layers of its own
        _print_layers(console, "tensors of the graph, for --layer too", report.tensors)
    for sentence in report.needed:
        console.print(f"\n[bold]still needed:[/bold] {escape(sentence)}")


def _facts(report: ModelReport) -> list[tuple[str, str]]:
    facts = [("model", f"{report.handle} ({report.form})"), ("digest", report.digest)]
    if report.preprocessing:
        found = report.preprocessing
        height, width = found["size"]
        low, high = found["input_range"]
        facts.append(("input", f"{height}x{width} {found['channels']}, {low:g} to {high:g}, resized {found['resize']}"))
        if found["mean"]:
            by = f", divided by {found['deviation']}" if found["deviation"] else ""
            facts.append(("", f"less {found['mean']}{by}"))
    if report.parameters is not None:
        facts.append(("parameters", f"{report.parameters:,}"))
    facts += [("stored", f"{name} {list(shape)}") for name, shape in report.features.items()]
    if report.milliseconds is not None:
        facts.append(("speed", f"{report.milliseconds:.1f} ms an image by TensorFlow, on one core of this machine"))
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
