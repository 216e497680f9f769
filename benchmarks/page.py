"""Writes the tables of docs/benchmarks.md, each from the results that the page names: python -m benchmarks.page."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.bench import OURS, TITLES

_TABLES = re.compile(r"(<!-- tables of (\S+) -->\n).*?(<!-- end of tables -->)", re.DOTALL)


def table(name: str, case: dict[str, Any]) -> str:
    """A case as a table in Markdown."""
    _, middle, _ = case["counts"]
    rows = [
        f"### {TITLES[name]}",
        "",
        f"| | images/s | span | one image | {middle:,} images, whole | peak memory | least cosine |",
        "|---|---|---|---|---|---|---|",
    ]
    for contender, found in case["contenders"].items():
        least, most = found["marginal_rate_span"]
        bold = "**" if contender == OURS else ""
        cells = (
            f"{bold}{contender}{bold}",
            f"{found['marginal_rate']:.0f}",
            f"{least:.0f} to {most:.0f}",
            f"{found['one_image_seconds']:.1f} s",
            f"{found['whole_seconds']:.1f} s",
            f"{found['peak_megabytes']:,.0f} MB",
            f"{found['min_cosine']:.6f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    rows.append(f"| decoding and the engine alone | {case['ceiling']:.0f} | | | | | |")
    return "\n".join([*rows, "", words(case), ""])


def words(case: dict[str, Any]) -> str:
    """The ratios, in a sentence."""
    found = dict(case["contenders"])
    ours = found.pop(OURS)
    loop = found.pop("loop", None)
    rate = max(row["marginal_rate"] for row in found.values())
    whole = min(row["whole_seconds"] for row in found.values())
    memory = min(row["peak_megabytes"] for row in (*found.values(), *([loop] if loop else [])))
    sentence = (
        f"Against the best of the others: {ours['marginal_rate'] / rate:.2f} times the rate, the whole process "
        f"{whole / ours['whole_seconds']:.2f} times as fast, {ours['peak_megabytes'] / memory:.2f} of the leanest's "
        f"memory; {ours['marginal_rate'] / case['ceiling']:.0%} of the ceiling."
    )
    if loop:
        sentence += f" Against the tutorial's loop: {ours['marginal_rate'] / loop['marginal_rate']:.2f} times the rate."
    return sentence


def tables(results: Path) -> str:
    """All cases of a file of results, as tables in Markdown."""
    cases = json.loads(results.read_text())["cases"]
    return "\n".join(table(name, case) for name, case in cases.items())


def main() -> None:
    """Reads the results, and puts the tables in their places on the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--page", default="docs/benchmarks.md")
    page = Path(parser.parse_args().page)
    page.write_text(
        _TABLES.sub(lambda found: f"{found[1]}\n{tables(page.parent / found[2])}\n{found[3]}", page.read_text())
    )


if __name__ == "__main__":
    main()
