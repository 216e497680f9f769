"""The label vocabulary: from a label's text to the index that is stored."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol

from beam_job.core.errors import InputError, UnknownLabelError
from beam_job.core.suggestions import did_you_mean
from beam_job.core.values import LINE_BREAKS
from beam_job.runtime import storage

NO_LABEL = -1
# In a shard by input: a label that the vocabulary does not have.
UNKNOWN_LABEL = -2
LARGEST_INTEGER_LABEL = 999_999

_INTEGER = re.compile(r"0|[1-9][0-9]*")


class Labels(Protocol):
    """Gives labels their indices."""

    def index(self, label: str | None) -> int:
        """The index of a label, -1 for None; UnknownLabelError where it has none."""


class FoundLabels:
    """The labels of a piece, numbered in the order in which they are found.

    They are added by the thread that reads the piece, in its order, and looked up by those that work on it.
    """

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def add(self, label: str | None) -> None:
        """Gives a label its index, unless it has one."""
        if label is not None:
            self._index.setdefault(label, len(self._index))

    def index(self, label: str | None) -> int:
        """The index of a label that was added, -1 for None."""
        return NO_LABEL if label is None else self._index[label]

    def names(self) -> list[str]:
        """The labels, in the order of their indices."""
        return list(self._index)


@dataclasses.dataclass(frozen=True)
class LabelVocabulary:
    """The labels of a dataset, in the order of their indices.

    Attributes:
      names: One name per index; none is blank, none appears twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            twice = next(name for position, name in enumerate(self.names) if name in self.names[:position])
            raise InputError(f"Expected every label once in the vocabulary, found {twice!r} more than once.")
        for name in self.names:
            if not name.strip() or LINE_BREAKS.search(name):
                raise InputError(f"Expected labels of one line of text, not blank, found {name!r}.")

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def index(self, label: str | None) -> int:
        """The index of a label, -1 for None.

        Raises:
          UnknownLabelError: the label is not in the vocabulary.
        """
        if label is None:
            return NO_LABEL
        try:
            return self._index[label]
        except KeyError:
            raise self.unknown(label) from None

    def unknown(self, label: str) -> UnknownLabelError:
        """The error for a label that is not in the vocabulary."""
        return UnknownLabelError(
            f"Expected one of the {len(self.names)} labels given, found {label!r}{did_you_mean(label, self._index)}"
        )

    @classmethod
    def build(cls, labels: Iterable[str]) -> LabelVocabulary:
        """The vocabulary of the labels that occur in the input.

        When every label is a non-negative integer in plain decimal, an integer's index is its value, and the names
        run from 0 to the largest. Otherwise the names are sorted by code point.

        >>> LabelVocabulary.build(["dog", "cat"]).names
        ('cat', 'dog')
        >>> LabelVocabulary.build(["3", "1"]).names
        ('0', '1', '2', '3')

        Raises:
          InputError: an integer is too large to be an index, or a name cannot be stored.
        """
        found = set(labels)
        if not found or not all(_INTEGER.fullmatch(label) for label in found):
            return cls(tuple(sorted(found)))
        largest = max(map(int, found))
        if largest > LARGEST_INTEGER_LABEL:
            raise InputError(
                f"Integer labels are stored as they are and reach at most {LARGEST_INTEGER_LABEL}, found {largest}; "
                f"give --labels with one label per line to number them."
            )
        return cls(tuple(map(str, range(largest + 1))))

    @classmethod
    def read(cls, path: str) -> LabelVocabulary:
        """The vocabulary in a file with one label per line, UTF-8.

        Raises:
          InputError: there is no such file, or it is not a vocabulary.
        """
        try:
            text = storage.read_bytes(storage.absolute(path)).decode("utf-8-sig")
        except FileNotFoundError:
            raise InputError(f"There is no file of labels at {path!r}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The file of labels {path!r} cannot be read as UTF-8 text: {error}") from None
        return cls(tuple(_lines(text)))


def _lines(text: str) -> Sequence[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
