"""A small labelled set of real photographs, made without a network.

Each class is one photograph that the scikit-image and scikit-learn wheels contain. Its images are crops of the
photograph at random positions, sizes and brightnesses, some of them mirrored.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from beam_job.core.errors import OutputError, UsageError
from beam_job.runtime.wheels import package_directory

_INSTALL = 'pip install "beam_job[samples]"'
_LONGEST_SIDE = 500
_JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A photograph in a wheel: the package, and the path of the file in it."""

    package: str
    path: str

    def open(self) -> Image.Image:
        directory = package_directory(self.package)
        if directory is None:
            raise UsageError(f"The photographs are in the package {self.package!r}; install it with: {_INSTALL}")
        return Image.open(directory / self.path).convert("RGB")


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


def write_samples(directory: str, images_per_class: int, seed: int = 0) -> int:
    """Writes a tree with a folder per class.

    Args:
      directory: A local directory that does not exist or is empty.
      images_per_class: Number of crops of each photograph.
      seed: Seed of the crops.

    Returns:
      The number of images written, each a JPEG of at most 500 pixels a side.

    Raises:
      OutputError: the directory is not empty.
      UsageError: the wheels with the photographs are not installed.
    """
    root = Path(directory)
    if root.exists() and any(root.iterdir()):
        raise OutputError(f"Expected an empty directory for the samples, found files at {directory}.")
    for number, (name, photograph) in enumerate(PHOTOGRAPHS.items()):
        image = photograph.open()
        random = np.random.default_rng([seed, number])
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(images_per_class):
            _crop(image, random).save(folder / f"{name}-{index:04d}.jpg", quality=_JPEG_QUALITY)
    return len(PHOTOGRAPHS) * images_per_class


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    share = random.uniform(0.4, 0.9)
    width, height = round(image.width * share), round(image.height * share)
    left = int(random.integers(0, image.width - width + 1))
    top = int(random.integers(0, image.height - height + 1))
    crop = image.crop((left, top, left + width, top + height))
    crop.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    if random.random() < 0.5:
        crop = ImageOps.mirror(crop)
    return ImageEnhance.Brightness(crop).enhance(random.uniform(0.7, 1.3))
