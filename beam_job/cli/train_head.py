"""beam-job train-head: trains a classifier head on a dataset, and writes a model that takes the examples themselves.

Trains a linear probe and a head, compares them with the nearest neighbours, and writes the head, a SavedModel from the
bytes of an example to probabilities, metrics.json and plots.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from beam_job import api
from beam_job.cli.arguments import add_option, given_options
from beam_job.cli.command import no_more
from beam_job.core import naming
from beam_job.core.option_fields import group_fields
from beam_job.core.options import HeadOptions

if TYPE_CHECKING:
    from rich.table import Table

    from beam_job.heads.evaluation import Epoch
    from beam_job.heads.serving import Agreement
    from beam_job.heads.training import HeadResult

_CLASSES_SHOWN = 20
_COLUMNS = ("precision", "recall", "f1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, and the options of the training."""
    parser.add_argument("path", metavar="OUT", help="The dataset's directory, local or gs://.")
    for field in group_fields(HeadOptions):
        add_option(parser, field)
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Trains, and prints the result."""
    no_more(rest, "train-head")
    options: Any = given_options(arguments, group_fields(HeadOptions))
    if arguments.json:
        result = api.train_head(arguments.path, **options)
        print(json.dumps({**dataclasses.asdict(result), "accuracy": result.accuracy}))
    else:
        with _epochs() as watch:
            result = api.train_head(arguments.path, watch=watch, **options)
        print_head(result)
    return 0


@contextmanager
def _epochs() -> Iterator[Callable[[Epoch], None]]:
    """Shows the epochs as they pass: one line per model on a terminal, a line per epoch elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda epoch: console.print(_line(epoch), markup=False)
        return
    lines: dict[str, str] = {}
    with Live(console=console, refresh_per_second=10) as live:

        def show(epoch: Epoch) -> None:
            lines[epoch.model] = _line(epoch)
            live.update(Text("\n".join(lines.values())))

        yield show


def _line(epoch: Epoch) -> str:
    return (
        f"{epoch.model:12} epoch {epoch.number:3}  loss {epoch.loss:.4f}  {epoch.measure} {epoch.score:.3f}  "
        f"validation {epoch.validation_loss:.4f}  {epoch.validation_score:.3f}"
    )


def print_head(result: HeadResult) -> None:
    """Prints accuracies, the worst classes, and how to use the head."""
    from rich.console import Console

    console = Console(highlight=False)
    if result.classes:
        console.print(_class_table(result.evaluations["head"]))
    examples = ", ".join(f"{count:,} {split}" for split, count in result.examples.items())
    left_out = f"; {result.unlabelled:,} without a label were left out" if result.unlabelled else ""
    console.print(f"examples: {examples}{left_out}")
    for split, count in result.unused.items():
        console.print(f"note: the {count:,} examples of the split {split} were not used", markup=False)
    for name, found_by in result.evaluations.items():
        first, second = found_by.words
        console.print(f"{name}: {first} on {found_by.examples:,} examples of the test split, {second}", soft_wrap=True)
    if result.served:
        console.print(_served(result.served), soft_wrap=True)
    console.print(f"trained in {result.seconds:.1f} s\n")
    console.print("use it with:", style="bold")
    takes_bytes = result.input.endswith(naming.BYTES_SUFFIX)
    packages = "".join(f", {package}" for package in result.packages)
    given, example = ("open(sys.argv[1], 'rb').read()", "FILE") if takes_bytes else ("sys.argv[1]", "'SOME WORDS'")
    console.print(
        f'  python -c "import sys, tensorflow as tf{packages}; '
        f"model = tf.saved_model.load('{result.head}/saved_model').signatures['serving_default']; "
        f'print(model({result.input}=tf.constant([{given}])))" {example}',
        soft_wrap=True,
        markup=False,
    )


def _class_table(head: Any) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("class")
    for name in (*_COLUMNS, "examples"):
        table.add_column(name, justify="right")
    worst = sorted(head.classes, key=lambda name: head.classes[name]["f1"] or 0.0)[:_CLASSES_SHOWN]
    for name in sorted(worst):
        found = head.classes[name]
        table.add_row(escape(name), *(_share(found[column]) for column in _COLUMNS), f"{found['examples']:,}")
    if len(worst) < len(head.classes):
        table.add_row(f"... and {len(head.classes) - len(worst):,} better classes")
    return table


def _served(found: Agreement) -> str:
    if not found.examples and not found.refused:
        return "the SavedModel was not compared with the head: the examples can no longer be read"
    words = f"the SavedModel agrees with the head on {found.examples} examples"
    if found.largest_difference is not None:
        words += f": their answers differ by at most {found.largest_difference:.1g}"
    if found.refused:
        words += f"; note: it cannot decode {found.refused} others, whose format TensorFlow does not read"
    return words


def _share(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
