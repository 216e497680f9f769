"""Writes the tables of docs/benchmarks.md from the result files that the page names: python -m benchmarks.page."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.bench import OURS, TITLES

_TABLES = re.compile(r"(<!-- tables of (\S+) -->\n).*?(<!-- end of tables -->)", re.DOTALL)


def table(name: str, case: dict[str, Any]) -> str:
    """A case as a Markdown table."""
    _, middle, _ = case["counts"]
    rows = [
        f"### {TITLES[name]}",
        "",
        f"| | examples/s | range | 1 example | {middle:,} examples | peak memory | minimum cosine |",
        "|---|---|---|---|---|---|---|",
    ]
    for contender, result in case["contenders"].items():
        lowest, highest = result["marginal_rate_span"]
        bold = "**" if contender == OURS else ""
        cells = (
            f"{bold}{contender}{bold}",
            f"{result['marginal_rate']:.0f}",
            f"{lowest:.0f} to {highest:.0f}",
            f"{result['one_image_seconds']:.1f} s",
            f"{result['whole_seconds']:.1f} s",
            f"{result['peak_megabytes']:,.0f} MB",
            f"{result['min_cosine']:.6f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    if case["ceiling"]:
        rows.append(f"| ceiling: decoding and the engine alone | {case['ceiling']:.0f} | | | | | |")
    return "\n".join([*rows, "", ratios(case), ""])


def ratios(case: dict[str, Any]) -> str:
    """The ratios of the job to its peers, as a paragraph."""
    peers = dict(case["contenders"])
    ours = peers.pop(OURS)
    loop = peers.pop("loop", None)
    rate = max(row["marginal_rate"] for row in peers.values())
    whole = min(row["whole_seconds"] for row in peers.values())
    memory = min(row["peak_megabytes"] for row in (*peers.values(), *([loop] if loop else [])))
    paragraph = (
        f"Compared with the best peer in each column: {ours['marginal_rate'] / rate:.2f} times the rate, "
        f"{whole / ours['whole_seconds']:.2f} times as fast end to end, {ours['peak_megabytes'] / memory:.2f} times "
        f"the peak memory."
    )
    if case["ceiling"]:
        paragraph += f" The rate is {ours['marginal_rate'] / case['ceiling']:.0%} of the ceiling."
    if loop:
        paragraph += (
            f" Compared with the tutorial's loop: {ours['marginal_rate'] / loop['marginal_rate']:.2f} times the rate."
        )
    return paragraph


def tables(results: Path) -> str:
    """All cases of a result file, as Markdown tables."""
    cases = json.loads(results.read_text())["cases"]
    return "\n".join(table(name, case) for name, case in cases.items())


def main() -> None:
    """Replaces the tables on the page by tables made from the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--page", default="docs/benchmarks.md")
    page = Path(parser.parse_args().page)
    page.write_text(
        _TABLES.sub(lambda match: f"{match[1]}\n{tables(page.parent / match[2])}\n{match[3]}", page.read_text())
    )


if __name__ == "__main__":
    main()
