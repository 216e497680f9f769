"""Writes docs/options.md from the options: python docs/make_options.py > docs/options.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from beam_job.cli.main import COMMANDS, build_parser


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield "# Options"
    yield ""
    yield "Generated from the code by `make docs`. Every option of `extract` may also be set in a YAML file that"
    yield "`--config` names. Beam's own options, such as `--runner=FlinkRunner`, are passed to Beam; an unknown option"
    yield "is an error."
    subparsers = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name in COMMANDS:
        parser = subparsers.choices[name]
        yield ""
        yield f"## beam-job {name}"
        yield ""
        words = (parser.description or "").partition(": ")[2].strip()
        yield words[:1].upper() + words[1:]
        yield ""
        yield "| option | description |"
        yield "|---|---|"
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            flag = action.option_strings[0] if action.option_strings else ""
            value = "" if action.nargs in (0, "?") else str(action.metavar or "")
            text = (action.help or "").replace("%%", "%").replace("|", "\\|")
            yield f"| `{' '.join(filter(None, (flag, value))).replace('|', chr(92) + '|')}` | {text} |"


if __name__ == "__main__":
    print("\n".join(lines()))
