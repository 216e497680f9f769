"""Takes the screenshots of the README: a demo in a terminal, and its report in Chromium. Run by `make screenshots`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.browser import browser  # noqa: E402

# Lines that resemble those beside them, or are too long for a screenshot.
_LEFT_OUT = ("epoch", "python -c", "use it with", "load it with")
WIDTH = 110


def terminal(folder: Path) -> str:
    """The output of a demo, without its epochs."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "beam_job", "demo", "demo"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    lines = ["$ beam-job demo demo", *done.stdout.replace(f"file://{folder}", "file:///home/you").splitlines()]
    return "\n".join(line for line in lines if not any(words in line for words in _LEFT_OUT))


def main() -> None:
    """Writes docs/terminal.svg and docs/page.png."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115
        console.print(Text.from_ansi(terminal(folder)))
        console.save_svg(str(ROOT / "docs" / "terminal.svg"), title="beam-job demo")
        with browser(folder / "profile", height=1320) as driver:
            driver.get((folder / "demo" / "features-report.html").as_uri())
            driver.save_screenshot(str(ROOT / "docs" / "page.png"))


if __name__ == "__main__":
    main()
