"""beam-job inspect-model: a model's input, outputs, layers and speed, and the flags that it still needs."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from beam_job import api
from beam_job.cli.arguments import add_option, given_options
from beam_job.cli.command import no_more
from beam_job.core.option_fields import Field, group_fields
from beam_job.core.options import ModelOptions

if TYPE_CHECKING:
    from rich.console import Console

    from beam_job.extraction.inspection import LayerReport, ModelReport

_ROWS_SHOWN = 30
_NUMBERS = ("parameters", "share", "ms up to here")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The handle, and the options for what a model does not declare."""
    parser.add_argument("handle", metavar="M", help="The model, as for --model of extract.")
    for field in _fields():
        add_option(parser, field)
    parser.add_argument("--input", metavar="IN", help="A few examples, as for extract, to time each layer on.")
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints the report."""
    no_more(rest, "inspect-model")
    report = api.inspect_model(arguments.handle, input=arguments.input, **given_options(arguments, _fields()))
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
    times = report.milliseconds_until
    outputs = [(name, _shape(shape), *_time(times, name)) for name, shape in report.outputs.items()]
    _print_rows(console, "outputs", ("shape",), outputs, times)
    layers = [_layer_row(layer, times) for layer in report.layers]
    _print_rows(console, "layers", ("kind", "shape", "parameters", "share"), layers, times)
    if not report.layers:
        tensors = [(name, _shape(shape), *_time(times, name)) for name, shape in report.tensors.items()]
        _print_rows(console, "tensors of the graph", ("shape",), tensors, times)
    for note in report.notes:
        console.print(f"\n[bold]note:[/bold] {escape(note)}")
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


def _layer_row(layer: LayerReport, times: Mapping[str, float]) -> tuple[str, ...]:
    size = f"{layer.parameters:,}", f"{layer.share:.1%}"
    return (layer.name, layer.kind, _shape(layer.shape), *size, *_time(times, layer.name))


def _shape(shape: Sequence[int | None] | None) -> str:
    return "" if shape is None else str(list(shape))


def _time(times: Mapping[str, float], name: str) -> tuple[str, ...]:
    """The cell of a row that says how long the model takes up to there; none if nothing was timed."""
    return (f"{times[name]:.2f}" if name in times else "",) if times else ()


def _print_rows(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], times: Mapping[str, float]
) -> None:
    """Prints what ``--layer`` may name, the last ones in full."""
    if not rows:
        return
    console.print(f"\n[bold]{title}[/bold], for --layer")
    if len(rows) > _ROWS_SHOWN:
        console.print(f"... {len(rows) - _ROWS_SHOWN:,} before these; --json lists all")
    shown = [("name", *columns, *(("ms up to here",) if times else ())), *rows[-_ROWS_SHOWN:]]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        cells = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(shown[0], row, widths, strict=True)
        ]
        # Never folded, so that a name can be copied.
        console.print(
            "  " + "  ".join(cells).rstrip(), soft_wrap=True, markup=False, style="dim" if row is shown[0] else ""
        )
