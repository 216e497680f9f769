"""Plots of a training: losses by epoch, the confusion of classes, and the calibration."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from beam_job.core.errors import UsageError
from beam_job.heads.evaluation import Epoch, Evaluation
from beam_job.heads.goals import AnyEvaluation
from beam_job.heads.regression import NumberEvaluation

_NAMED_CLASSES, _NAME_WIDTH = 40, 24
_NUMBERED_CLASSES = 20
_DRAWN_CLASSES = 500


def import_figure() -> Any:
    """Matplotlib's Figure class.

    Raises:
      UsageError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("train-head needs Matplotlib: pip install 'beam_job[heads]'.") from None
    return Figure


def write_plots(folder: str, classes: list[str], epochs: Sequence[Epoch], found: AnyEvaluation) -> None:
    """Writes ``epochs.png``, and ``calibration.png`` and ``confusion.png``, or ``targets.png``, into a folder.

    ``confusion.png`` only where an example has one class, and for at most 500 classes.

    Raises:
      UsageError: Matplotlib is not installed.
    """
    new_figure = functools.partial(import_figure(), layout="constrained")
    _epochs(new_figure(figsize=(7, 4)), epochs).savefig(os.path.join(folder, "epochs.png"))
    if isinstance(found, NumberEvaluation):
        _targets(new_figure(figsize=(5, 5)), found).savefig(os.path.join(folder, "targets.png"))
        return
    _calibration(new_figure(figsize=(5, 5)), found).savefig(os.path.join(folder, "calibration.png"))
    if found.confusion is not None and len(classes) <= _DRAWN_CLASSES:
        side = 3 + 0.3 * min(len(classes), _NAMED_CLASSES)
        figure = _confusion(new_figure(figsize=(side, side)), classes, found.confusion)
        figure.savefig(os.path.join(folder, "confusion.png"))


def _epochs(figure: Any, epochs: Sequence[Epoch]) -> Any:
    axes = figure.add_subplot()
    for model in dict.fromkeys(epoch.model for epoch in epochs):
        passes = [epoch for epoch in epochs if epoch.model == model]
        numbers = [epoch.number for epoch in passes]
        (line,) = axes.plot(numbers, [epoch.validation_loss for epoch in passes], label=f"{model}, validation")
        axes.plot(numbers, [epoch.loss for epoch in passes], ":", color=line.get_color(), label=f"{model}, training")
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend()
    return figure


def _calibration(figure: Any, found: Evaluation) -> Any:
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7")
    confidence, right, count = zip(*found.calibration, strict=True)
    sizes = 20 + 200 * np.array(count) / max(count)
    axes.scatter(confidence, right, sizes)
    axes.set(xlabel="confidence", ylabel="share that is correct", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    axes.set_title(f"expected calibration error {found.calibration_error:.3f}", fontsize=10)
    return figure


def _targets(figure: Any, found: NumberEvaluation) -> Any:
    axes = figure.add_subplot()
    true, predicted = zip(*found.points, strict=True)
    ends = min(*true, *predicted), max(*true, *predicted)
    axes.plot(ends, ends, color="0.7")
    axes.scatter(true, predicted, 12, alpha=0.6)
    axes.set(xlabel="true", ylabel="predicted", aspect="equal")
    axes.set_title(", ".join(found.words), fontsize=10)
    return figure


def _confusion(figure: Any, classes: list[str], confusion: Sequence[tuple[int, int, int]]) -> Any:
    axes, counts = figure.add_subplot(), np.zeros((len(classes), len(classes)), np.int64)
    for true, predicted, number in confusion:
        counts[true, predicted] = number
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= _NAMED_CLASSES:
        # Names are arbitrary text, and a dollar sign would start a formula.
        names = [_short(name).replace("$", r"\$") for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set_yticks(range(len(classes)), names)
    if len(classes) <= _NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, count, ha="center", va="center", color="w" if shares[row, column] > 0.5 else "k")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 3]}..."
