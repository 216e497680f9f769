"""``docstrings``: what the documentation of scikit-learn says of its functions and classes, by topic.

The files of the wheel are parsed, not run. A split has whole source files, so that no text is in two of them, but for
sentences that authors repeat.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from beam_job.modalities.sample_parts import SHARES, wheel_directory

# Subpackages of scikit-learn, whose names are the classes.
TOPICS = (
    "cluster",
    "datasets",
    "decomposition",
    "ensemble",
    "feature_extraction",
    "linear_model",
    "metrics",
    "model_selection",
    "neighbors",
    "preprocessing",
)
_SHORTEST = 60  # letters; shorter ones, such as "Fit the model.", are the same everywhere
_SECTION = re.compile(r"\n\s*\w[\w ]*\n\s*-{3,}|\n\s*\.\. ")  # "Parameters" and its underline, or a directive


def write_docstrings(root: Path, examples_per_class: int, seed: int) -> int:
    """Texts in UTF-8, at ``SPLIT/CLASS/NAME``; arguments as for a set."""
    sources, random = wheel_directory("sklearn", "samples"), np.random.default_rng(seed)
    written, seen = 0, set[str]()
    for topic in TOPICS:
        files = sorted(path for path in (sources / topic).glob("*.py"))
        shuffled = [files[place] for place in random.permutation(len(files))]
        texts = {path: [text for text in _texts(path) if text not in seen] for path in shuffled}
        for split, found in _divided(texts, examples_per_class).items():
            folder = root / split / topic
            folder.mkdir(parents=True, exist_ok=True)
            for number, text in enumerate(found):
                (folder / f"{topic}-{number:04d}.txt").write_text(text, encoding="utf-8")
            seen.update(found)
            written += len(found)
    return written


def _texts(path: Path) -> Iterator[str]:
    """The different texts of a source file, up to their first section."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = (
        ast.get_docstring(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)
    )
    texts = (_SECTION.split(f"\n{text}", maxsplit=1)[0].strip() for text in found if text)
    return (text for text in dict.fromkeys(texts) if len(text) >= _SHORTEST)


def _divided(texts: dict[Path, list[str]], count: int) -> dict[str, list[str]]:
    """At most ``count`` texts, in splits of about their shares that have whole files."""
    total = min(count, sum(map(len, texts.values())))
    divided: dict[str, list[str]] = {split: [] for split in SHARES}
    seen: set[str] = set()
    for found in texts.values():
        # The split that lacks most gets the next file.
        split = max(SHARES, key=lambda name: SHARES[name] * total - len(divided[name]))
        room = round(SHARES[split] * total) - len(divided[split])
        new = [text for text in found if text not in seen][: max(0, room)]
        divided[split].extend(new)
        seen.update(found)
    return divided
