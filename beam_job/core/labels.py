"""What a label is: one class, several classes, or a number. All labels of a dataset are of one kind."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable, Sequence

from beam_job.core.errors import BadReferenceError

# A label before it has an index: the name of a class, the names of several, a number, or None for no label.
Label = str | tuple[str, ...] | float | None
# A label as it is stored: the index of a class, those of several, sorted, or a number.
StoredLabel = int | tuple[int, ...] | float
NO_LABEL = -1

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# From here on, a number is rounded to no finite float32: half a step above the largest one, 2**128 - 2**104.
_TOO_LARGE = 2.0**128 - 2.0**103
_NAMES_SHOWN = 3


class LabelKind(enum.Enum):
    """What the labels of a dataset are; the values are those of ``--label_type``."""

    CLASS = "class"
    MULTI = "multi"
    TARGET = "target"

    @property
    def field(self) -> str:
        """The field of a record that holds them."""
        return {LabelKind.CLASS: "label", LabelKind.MULTI: "labels", LabelKind.TARGET: "target"}[self]


def kind_of(labels: Iterable[Label]) -> LabelKind:
    """The kind of labels that a dataset with these has.

    Lists are several classes. Numbers are targets if some are not whole: a class may be called 3, but hardly 3.25.

    >>> kind_of(["1", "2"]), kind_of(["0.5", "2"]), kind_of(["a", ("a", "b")])
    (<LabelKind.CLASS: 'class'>, <LabelKind.TARGET: 'target'>, <LabelKind.MULTI: 'multi'>)
    """
    found = [label for label in labels if label is not None and not is_nan(label)]
    if any(isinstance(label, tuple) for label in found):
        return LabelKind.MULTI
    if any(isinstance(label, float) for label in found):
        return LabelKind.TARGET
    texts = [label for label in found if isinstance(label, str)]
    if texts and all(map(_NUMBER.fullmatch, texts)) and not all(float(text).is_integer() for text in texts):
        return LabelKind.TARGET
    return LabelKind.CLASS


def fitted(label: Label, kind: LabelKind) -> Label:
    """A label as a dataset of a kind has it: a name alone is a list of one, and a text may be a number.

    Raises:
      BadReferenceError: it cannot be of that kind.
    """
    if label is None:
        return None
    if kind is LabelKind.TARGET:
        return None if is_nan(label) else _number(label)
    if isinstance(label, float):
        raise BadReferenceError(
            f"expected a label that is text or an integer, found {label:g}; numbers are --label_type=target"
        )
    if kind is LabelKind.MULTI:
        return (label,) if isinstance(label, str) else tuple(dict.fromkeys(label))
    if isinstance(label, tuple):
        raise BadReferenceError(f"expected one label, found {_shown(label)}; lists of labels are --label_type=multi")
    return label


def is_nan(label: Label) -> bool:
    """Whether a text stands for a number that is missing."""
    return isinstance(label, str) and label.lower() == "nan"


def are_numbers(names: Iterable[str]) -> bool:
    """Whether names look like numbers that are not all whole, which may be meant as targets."""
    return kind_of(names) is LabelKind.TARGET


def _number(label: Label) -> float:
    if isinstance(label, float) or (isinstance(label, str) and _NUMBER.fullmatch(label)):
        value = float(label)
        if abs(value) < _TOO_LARGE:
            return value
    raise BadReferenceError(f"expected a number that float32 can hold as the label, found {_shown(label)}")


def _shown(label: Label) -> str:
    if not isinstance(label, tuple):
        return f"{label!r:.100}"
    names = ", ".join(f"{name!r:.100}" for name in label[:_NAMES_SHOWN])
    return f"the list of {names}" + (f" and {len(label) - _NAMES_SHOWN} more" if len(label) > _NAMES_SHOWN else "")


def names_in(label: Label) -> Sequence[str]:
    """The names of the classes in a label."""
    if isinstance(label, str):
        return (label,)
    return label if isinstance(label, tuple) else ()


def indices_in(label: StoredLabel) -> Sequence[int]:
    """The indices in a stored label, which are counted; -1 for one that stands for no label."""
    if isinstance(label, tuple):
        return label
    if isinstance(label, float):
        return (NO_LABEL,) if math.isnan(label) else ()
    return (label,)


def no_label(kind: LabelKind) -> StoredLabel:
    """What is stored for an example without a label."""
    if kind is LabelKind.TARGET:
        return math.nan
    return NO_LABEL if kind is LabelKind.CLASS else (NO_LABEL,)
