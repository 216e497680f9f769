"""The texts of the benchmarks: 4 to 48 words each, from the docstrings in the scikit-learn wheel; no two are alike."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from beam_job.core.options import SampleOptions
from beam_job.modalities.samples import write_samples

COUNT = 6000
_LENGTHS = (4, 6, 8, 10, 12, 15, 18, 22, 28, 36, 48)  # words; half of the texts have at most 15


def make_texts(folder: Path) -> list[tuple[str, int]]:
    """The texts, each with a label."""
    source = folder / "docstrings"
    if not source.exists():
        write_samples(str(source), SampleOptions(modality="text", examples_per_class=500))
    words = " ".join(path.read_text() for path in sorted(source.rglob("*.txt"))).split()
    chance = random.Random(0)
    texts: dict[str, int] = {}
    while len(texts) < COUNT:
        start, count = chance.randrange(len(words) - max(_LENGTHS)), chance.choice(_LENGTHS)
        texts.setdefault(" ".join(words[start : start + count]), len(texts) % 10)
    return list(texts.items())


def write_table(path: Path, texts: list[tuple[str, int]], count: int) -> None:
    """Writes a CSV of ``count`` texts, for the peers and the job alike."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        writer.writerows((f"{number}:{text}", text, label) for number, (text, label) in enumerate(texts[:count]))
