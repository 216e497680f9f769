"""The summary of a run, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from beam_job.beam.launch import RunResult

_CLASSES_SHOWN = 20


def print_summary(result: RunResult, console: Console | None = None) -> None:
    """Prints examples per split and class, errors, the rate, where the time went, and how to load the dataset."""
    console = console or Console(highlight=False)
    console.print(_class_table(result.splits))
    failed = sum(result.errors.values())
    line = f"{result.examples:,} examples: {result.records:,} with features"
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in result.features.items())
    console.print(f"{line} ({escape(shapes)}), {failed:,} errors")
    for name, count in result.errors.items():
        console.print(f"  {count:,} {name}")
    for note in result.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    if kept := result.examples - result.extracted:
        console.print(f"{result.extracted:,} examples were extracted, {kept:,} kept from earlier runs")
    console.print(
        f"{result.examples_per_second:.1f} examples/s over {result.extract_seconds:.1f} s; "
        f"{result.seconds:.1f} s including the start"
    )
    console.print(f"engine: {escape(_engine(result.engine))}")
    if result.extracted:
        console.print(f"time in threads: {_shares(result.stages)}")
    if result.retries:
        console.print(f"{result.retries:,} retries of requests")
    if result.report:
        console.print(f"report: {result.report}", soft_wrap=True, markup=False)
    split = next(iter(result.splits))
    console.print("\nload it with:", style="bold")
    # Not wrapped, so that it can be copied.
    console.print(
        f'  python -c "import beam_job; '
        f"print(next(iter(beam_job.load_features('{result.output}', '{split}').batch(32))))\"",
        soft_wrap=True,
        markup=False,
    )


def _engine(engine: Mapping[str, Any]) -> str:
    words = f"{engine['name']} in {engine['precision']}, {engine['reason']}"
    parity = engine["parity"]
    if not parity:
        return words
    return f"{words}; agrees with TensorFlow to a cosine of {parity['min_cosine']:.6f} on {parity['examples']} examples"


def _class_table(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("class" if any(content["classes"] for content in splits.values()) else "")
    for split in splits:
        table.add_column(split, justify="right")
    totals: dict[str, int] = {}
    for content in splits.values():
        for name, count in content["classes"].items():
            totals[name] = totals.get(name, 0) + count
    shown = sorted(totals, key=lambda name: -totals[name])[:_CLASSES_SHOWN]
    for name in sorted(shown):
        table.add_row(escape(name), *(f"{split['classes'].get(name, 0):,}" for split in splits.values()))
    if len(totals) > len(shown):
        table.add_row(f"... and {len(totals) - len(shown):,} more classes")
    if any(split["unlabelled"] for split in splits.values()):
        table.add_row("(no label)", *(f"{split['unlabelled']:,}" for split in splits.values()))
    table.add_row("all", *(f"{split['records']:,}" for split in splits.values()), style="bold")
    return table


def _shares(stages: Mapping[str, float]) -> str:
    named = {name: seconds for name, seconds in stages.items() if name != "wall"}
    total = sum(named.values()) or 1.0
    return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in named.items())
