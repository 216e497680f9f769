"""Draws docs/benchmarks.svg from docs/benchmarks.json: python -m benchmarks.chart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

from benchmarks.bench import OURS, TITLES

OUR_COLOUR, OTHERS_COLOUR, LIMIT_COLOUR = "#1b7f5c", "#b8c4cc", "#444444"


def main() -> None:
    """Draws a panel for each case of the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", default="docs/benchmarks.json")
    parser.add_argument("--chart", default="docs/benchmarks.svg")
    args = parser.parse_args()
    results = json.loads(Path(args.results).read_text())
    # Keep text as text, and make the file reproducible: the same results give the same bytes.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9})
    figure, panels = plt.subplots(3, 2, figsize=(9, 7.8), layout="constrained")
    for panel, (name, case) in zip(panels.flat, results["cases"].items(), strict=False):
        contenders = dict(reversed(case["contenders"].items()))
        rates = [row["marginal_rate"] for row in contenders.values()]
        colours = [OUR_COLOUR if contender == OURS else OTHERS_COLOUR for contender in contenders]
        bars = panel.barh(list(contenders), rates, color=colours)
        panel.bar_label(bars, [f"{rate:.0f}" for rate in rates], padding=3)
        if case["ceiling"]:
            panel.axvline(case["ceiling"], color=LIMIT_COLOUR, linestyle=":", linewidth=1)
        panel.set_title(TITLES[name], fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.12)
    figure.supxlabel(
        f"examples per second on {results['cores']} cores; dotted: decoding and the engine alone", fontsize=9
    )
    figure.savefig(args.chart, metadata={"Date": None})


if __name__ == "__main__":
    main()
