"""The label vocabulary: from the names of classes to the indices that are stored."""

from __future__ import annotations

import abc
import csv
import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

from beam_job.core.errors import InputError, UnknownLabelError
from beam_job.core.labels import Label, LabelKind, StoredLabel, no_label
from beam_job.core.suggestions import did_you_mean
from beam_job.core.values import LINE_BREAKS
from beam_job.runtime import storage

# In a shard by input: a label that the vocabulary does not have.
UNKNOWN_LABEL = -2
LARGEST_INTEGER_LABEL = 999_999

_INTEGER = re.compile(r"0|[1-9][0-9]*")


class Labels(abc.ABC):
    """Gives the labels of one kind their indices.

    Attributes:
      kind: What the labels are.
    """

    kind: LabelKind

    @abc.abstractmethod
    def index(self, name: str) -> int:
        """The index of a class; UnknownLabelError where it has none."""

    def stored(self, label: Label) -> StoredLabel:
        """A label of the kind as it is stored.

        Raises:
          UnknownLabelError: a class has no index.
        """
        if label is None:
            return no_label(self.kind)
        if isinstance(label, str):
            return self.index(label)
        return tuple(sorted(map(self.index, label))) if isinstance(label, tuple) else float(label)


class FoundLabels(Labels):
    """The labels of a piece, numbered in the order in which they are found.

    They are added by the thread that reads the piece, in its order, and looked up by those that work on it.
    """

    def __init__(self, kind: LabelKind) -> None:
        self.kind = kind
        self._index: dict[str, int] = {}

    def add(self, names: Iterable[str]) -> None:
        """Gives classes their indices, unless they have them."""
        for name in names:
            self._index.setdefault(name, len(self._index))

    def index(self, name: str) -> int:
        """The index of a class that was added."""
        return self._index[name]

    def names(self) -> list[str]:
        """The classes, in the order of their indices."""
        return list(self._index)


@dataclasses.dataclass(frozen=True)
class LabelVocabulary(Labels):
    """The classes of a dataset, in the order of their indices.

    Attributes:
      names: One name per index; none is blank, none appears twice.
      kind: What the labels are; without classes, numbers.
    """

    names: tuple[str, ...]
    kind: LabelKind = LabelKind.CLASS

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

    def index(self, name: str) -> int:
        try:
            return self._index[name]
        except KeyError:
            raise self.unknown(name) from None

    def unknown(self, name: str) -> UnknownLabelError:
        """The error for a class that is not in the vocabulary."""
        return unknown_label(name, self._index)

    @classmethod
    def build(cls, names: Iterable[str], kind: LabelKind = LabelKind.CLASS) -> LabelVocabulary:
        """The vocabulary of the classes that occur in the input.

        When every name is a non-negative integer in plain decimal, an integer's index is its value, and the names
        run from 0 to the largest. Otherwise the names are sorted by code point.

        >>> LabelVocabulary.build(["dog", "cat"]).names
        ('cat', 'dog')
        >>> LabelVocabulary.build(["3", "1"]).names
        ('0', '1', '2', '3')

        Raises:
          InputError: an integer is too large to be an index, or a name cannot be stored.
        """
        found = set(names)
        if not found or not all(_INTEGER.fullmatch(name) for name in found):
            return cls(tuple(sorted(found)), kind)
        largest = max(map(int, found))
        if largest > LARGEST_INTEGER_LABEL:
            raise InputError(
                f"Integer labels are stored as they are and reach at most {LARGEST_INTEGER_LABEL}, found {largest}; "
                f"give --labels with one label per line to number them."
            )
        return cls(tuple(map(str, range(largest + 1))), kind)

    @classmethod
    def read(cls, path: str) -> LabelVocabulary:
        """The vocabulary in a file with one label per line, UTF-8.

        Raises:
          InputError: there is no such file, or it is not a vocabulary.
        """
        return cls(tuple(_lines(_read_text(path, "labels"))))


def unknown_label(name: str, known: Collection[str]) -> UnknownLabelError:
    """The error for a class that is not one of those that are known."""
    return UnknownLabelError(
        f"Expected one of the {len(known)} labels given, found {name!r}{did_you_mean(name, known)}"
    )


@dataclasses.dataclass(frozen=True)
class Numbering:
    """How the classes of a run get their indices.

    Attributes:
      kind: What the labels are.
      given: The names, in the order of their indices, if the user or the input gives them.
      wanted: The only classes that are taken, if they are named; each must occur.
    """

    kind: LabelKind = LabelKind.CLASS
    given: tuple[str, ...] | None = None
    wanted: tuple[str, ...] = ()

    def vocabulary(self, found: Collection[str]) -> LabelVocabulary:
        """The vocabulary of a dataset in which these classes occur.

        Raises:
          InputError: a class that is wanted does not occur, or the names can be no vocabulary.
        """
        for name in self.wanted:
            if name not in found:
                hint = did_you_mean(name, sorted(found))
                raise InputError(f"Expected examples of every class in --classes, found none of {name!r}{hint}")
        if self.given is not None:
            return LabelVocabulary(self.given, self.kind)
        return LabelVocabulary.build(found, self.kind)


def read_label_map(path: str) -> dict[str, str]:
    """What each label is called in the dataset, from a file: a JSON object, or a line for each label.

    A line has the label and its name: two cells of a ``.csv``, or otherwise separated by a tab or by the first blank,
    as in ImageNet's ``n01440764 tench, Tinca tinca``.

    Raises:
      InputError: there is no such file, or it is no such map.
    """
    text = _read_text(path, "labels and their names")
    if path.lower().endswith(".json"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise InputError(f"Expected a JSON object in {path!r}, found {error}.") from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
            raise InputError(f"Expected a JSON object of labels to names in {path!r}, found something else.")
        pairs = list(found.items())
    else:
        pairs = [_pair(line, number, path) for number, line in enumerate(_lines(text), 1) if line.strip()]
    if not pairs:
        raise InputError(f"Expected labels and their names in {path!r}, found none.")
    names: dict[str, str] = {}
    for label, name in pairs:
        if not name.strip() or LINE_BREAKS.search(name):
            raise InputError(f"Expected names of one line of text, not blank, in {path!r}, found {name!r}.")
        if names.setdefault(label, name) != name:
            raise InputError(f"Expected one name for each label in {path!r}, found two for {label!r}.")
    return names


def _pair(line: str, number: int, path: str) -> tuple[str, str]:
    if path.lower().endswith(".csv"):
        try:
            cells = next(csv.reader([line], skipinitialspace=True, strict=True))
        except csv.Error:
            cells = []
    else:
        cells = line.strip().split("\t" if "\t" in line else None, 1)
    if len(cells) != 2 or not all(cell.strip() for cell in cells):
        raise InputError(f"Expected a label and its name in line {number} of {path!r}, found {line.strip()!r}.")
    return cells[0].strip(), cells[1].strip()


def _read_text(path: str, content: str) -> str:
    try:
        return storage.read_bytes(storage.absolute(path)).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no file of {content} at {path!r}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file of {content} {path!r} cannot be read as UTF-8 text: {error}") from None


def _lines(text: str) -> Sequence[str]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
