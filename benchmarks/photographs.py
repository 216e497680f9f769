"""The images of the benchmarks: real photographs at 500x375 and at 4000x3000, as JPEGs of quality 90."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from beam_job.modalities.image.samples import PHOTOGRAPHS

SIZES = {"small": (500, 375), "large": (4000, 3000)}
DISTINCT = {"small": 240, "large": 24}


def make_photographs(folder: Path, kind: str) -> list[tuple[Path, int]]:
    """Crops of the photographs in the wheels, scaled to one size. Crops that exist already are not made again.

    Returns:
      The path and label of each.
    """
    width, height = SIZES[kind]
    target = folder / kind
    target.mkdir(parents=True, exist_ok=True)
    crops = []
    names = sorted(PHOTOGRAPHS)
    for number in range(DISTINCT[kind]):
        label = number % len(names)
        path = target / f"{names[label]}-{number:04d}.jpg"
        if not path.exists():
            photograph = PHOTOGRAPHS[names[label]].open()
            random = np.random.default_rng(number)
            scale = random.uniform(0.6, 0.95)
            side_width = int(min(photograph.width, photograph.height * width / height) * scale)
            side_height = side_width * height // width
            left = int(random.integers(0, photograph.width - side_width + 1))
            top = int(random.integers(0, photograph.height - side_height + 1))
            crop = photograph.crop((left, top, left + side_width, top + side_height))
            crop.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
        crops.append((path, label))
    return crops


def write_list(path: Path, images: list[tuple[Path, int]], count: int) -> None:
    """Writes a list of ``count`` images for the peers and a manifest for the job; images repeat as needed."""
    rows = [(images[number % len(images)], number) for number in range(count)]
    path.write_text("".join(f"{image}\t{label}\n" for (image, label), _ in rows))
    manifest = "uri,label,id\n" + "".join(f"{image},{label},{number}:{image}\n" for (image, label), number in rows)
    path.with_suffix(".csv").write_text(manifest)
