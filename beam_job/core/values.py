"""Values of options that are more than a number or a text. Each parses the text that its ``str`` gives."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re

from beam_job.core.sharding import is_split_name

POOLS = ("avg", "max", "flatten", "none")
DEFAULT_LAYER = "default"


# What ends a line, and other characters that no label has: a line of label.labels.txt is a label.
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSize:
    """Height and width in pixels, written ``224`` or ``HEIGHTxWIDTH``."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1")

    @classmethod
    def parse(cls, text: str) -> ImageSize:
        parts = [int(part) for part in text.lower().split("x")]
        if len(parts) > 2:
            raise ValueError("one number, or two with an x between them")
        return cls(parts[0], parts[-1])

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclasses.dataclass(frozen=True, slots=True)
class ValueRange:
    """The values of black and white, written ``LOW,HIGH``, such as ``0,1`` or ``-1,1``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("two finite numbers, the lower one first")
        # An int of a caller would be another text in run.json, and thus another identity of the dataset.
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    @classmethod
    def parse(cls, text: str) -> ValueRange:
        low, high = text.split(",")
        return cls(float(low), float(high))

    def __str__(self) -> str:
        return f"{self.low:g},{self.high:g}"


@dataclasses.dataclass(frozen=True, slots=True)
class LayerChoice:
    """A layer, an output or a tensor of a model, and how its positions are pooled, written ``NAME`` or ``NAME:POOL``.

    Attributes:
      name: The layer's name in the model; ``default`` is the model's default output.
      pool: ``avg`` or ``max`` over height and width, ``flatten`` to one axis, or ``none``.
    """

    name: str
    pool: str = "none"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a layer has a name")
        if self.pool not in POOLS:
            raise ValueError(f"POOL is one of {', '.join(POOLS)}")

    @classmethod
    def parse(cls, text: str) -> LayerChoice:
        """The choice in ``text``; a name may end with the number of a tensor, as TensorFlow writes it (``relu:0``).

        >>> LayerChoice.parse("top/relu:0:avg")
        LayerChoice(name='top/relu:0', pool='avg')
        """
        name, colon, pool = text.rpartition(":")
        return cls(text) if not colon or pool.isdigit() else cls(name, pool)

    def __str__(self) -> str:
        return self.name if self.pool == "none" else f"{self.name}:{self.pool}"


@dataclasses.dataclass(frozen=True, slots=True)
class TagSet:
    """The tags of one graph of a SavedModel, written ``serve`` or ``serve,gpu``."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(self.names):
            raise ValueError("a tag is not empty")

    @classmethod
    def parse(cls, text: str) -> TagSet:
        return cls(tuple(sorted({name.strip() for name in text.split(",")})))

    def __str__(self) -> str:
        return ",".join(self.names)


@dataclasses.dataclass(frozen=True, slots=True)
class LabelPattern:
    """A regular expression that finds the label in an id: its first group, or all that it matches without one."""

    text: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.text)
        except re.error as error:
            raise ValueError(f"the regular expression is wrong: {error}") from None

    @classmethod
    def parse(cls, text: str) -> LabelPattern:
        return cls(text)

    def __str__(self) -> str:
        return self.text

    def label_of(self, example_id: str) -> str | None:
        r"""The label in an id, or None where there is none.

        >>> LabelPattern(r"_([a-z]+)\.jpg").label_of("photos/17_cat.jpg")
        'cat'
        """
        found = re.search(self.text, example_id)
        if not found:
            return None
        label: str | None = found[1] if found.re.groups else found[0]
        return None if not label or LINE_BREAKS.search(label) else label


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """Some names in their order, written ``a,b``; as in a CSV, one with a comma is in quotes."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or not all(self.names):
            raise ValueError("a name is not empty")
        if len(set(self.names)) != len(self.names):
            raise ValueError("a name is there twice")
        if any(map(LINE_BREAKS.search, self.names)):
            raise ValueError("a name is one line of text")

    @classmethod
    def parse(cls, text: str) -> Names:
        """The names in ``text``.

        >>> Names.parse('cat,"dog, small"').names
        ('cat', 'dog, small')
        """
        try:
            cells = next(csv.reader([text], skipinitialspace=True, strict=True), [])
        except csv.Error as error:
            raise ValueError(str(error)) from None
        return cls(tuple(cell.strip() for cell in cells))

    def __str__(self) -> str:
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(self.names)
        return row.getvalue()


@dataclasses.dataclass(frozen=True, slots=True)
class SplitFractions:
    """Shares of the splits in their order, written ``train=0.8,validation=0.1,test=0.1``."""

    shares: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.shares]
        for name in names:
            if not is_split_name(name):
                raise ValueError(f"{name!r} is not a valid split name (letters, digits, underscores; not 'all')")
        if len(set(names)) != len(names):
            raise ValueError("a split is named twice")
        if not all(share > 0 for _, share in self.shares):
            raise ValueError("every share is above 0")
        total = sum(share for _, share in self.shares)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares sum to {total:g}, not to 1")

    @classmethod
    def parse(cls, text: str) -> SplitFractions:
        pairs = (pair.partition("=") for pair in text.split(","))
        return cls(tuple((name.strip(), float(share)) for name, _, share in pairs))

    def as_dict(self) -> dict[str, float]:
        return dict(self.shares)

    def __str__(self) -> str:
        return ",".join(f"{name}={share:g}" for name, share in self.shares)
