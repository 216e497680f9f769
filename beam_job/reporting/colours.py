"""What the map of a report colours its points by: the class of an example, its classes, or a range of numbers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from beam_job.core.labels import NO_LABEL, LabelKind
from beam_job.core.records import Float32Array
from beam_job.dataset.reading import FeatureTable
from beam_job.outputs.base import RecordSchema

_RANGES = 5


@dataclasses.dataclass(frozen=True)
class Colours:
    """One class for each example of a sample.

    Attributes:
      names: What the classes are called.
      labels: int64 [N], the place of each example's class, -1 for none.
    """

    names: Sequence[str]
    labels: npt.NDArray[np.int64]

    def name(self, label: int) -> str:
        """What a class is called."""
        return self.names[label] if 0 <= label < len(self.names) else "(none)"


def colours_of(table: FeatureTable, schema: RecordSchema) -> Colours:
    """The classes of the examples in a table."""
    if schema.label_kind is LabelKind.CLASS:
        return Colours(schema.labels, table.labels)
    if schema.label_kind is LabelKind.TARGET:
        return _ranges(table.labels)
    sets, places = np.unique(table.labels, axis=0, return_inverse=True)
    names = [", ".join(np.array(schema.labels, object)[row]) or "(no class)" for row in sets]
    return Colours(names, np.where(table.labelled, places.reshape(-1), NO_LABEL))


def _ranges(numbers: Float32Array) -> Colours:
    """Ranges with about as many numbers each."""
    known = ~np.isnan(numbers)
    if not known.any():
        return Colours([], np.full(len(numbers), NO_LABEL))
    ends = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _RANGES + 1)))
    places = np.clip(np.searchsorted(ends, numbers, "right") - 1, 0, max(0, len(ends) - 2))
    names = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(ends)] or [f"{ends[0]:.4g}"]
    return Colours(names, np.where(known, places, NO_LABEL))
