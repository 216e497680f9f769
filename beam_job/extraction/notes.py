"""What a run tells its user beside the numbers: how the input was understood, and what is missing from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from beam_job.core.labels import LabelKind, are_numbers
from beam_job.extraction.layout import DatasetLayout, describe_passed_over

_ABSENT_SHOWN = 5


def all_notes(source: Iterable[str], layout: DatasetLayout, extras: Mapping[str, str]) -> list[str]:
    """Sentences without a capital letter and a full stop.

    Args:
      source: What the input says of itself.
      layout: What was found in it.
      extras: Suffixes of files that were passed over, and what must be installed to read them.
    """
    notes = list(source)
    if layout.passed_over:
        notes.append(describe_passed_over(layout.passed_over, extras))
    if not layout.vocabulary.names and layout.vocabulary.kind is not LabelKind.TARGET:
        notes.append("no example has a label")
    elif layout.vocabulary.kind is LabelKind.CLASS and are_numbers(layout.vocabulary.names):
        notes.append("the labels are numbers, stored as names of classes; for regression, give --label_type=target")
    elif layout.absent:
        shown = ", ".join(layout.absent[:_ABSENT_SHOWN]) + (", ..." if len(layout.absent) > _ABSENT_SHOWN else "")
        notes.append(f"{len(layout.absent):,} of {len(layout.vocabulary.names):,} labels do not occur: {shown}")
    return notes
