"""What the options say of each example: its label, its split, and whether it is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_job.core.errors import BadReferenceError
from beam_job.core.labels import Label, LabelKind, fitted, names_in
from beam_job.core.options import SourceOptions
from beam_job.core.records import CLASS_FOLDER_LABEL, FOLDER_LABEL, Content, ErrorRow, ExampleRef, PassedOver
from beam_job.core.sharding import assign_split
from beam_job.core.suggestions import did_you_mean
from beam_job.core.values import LabelPattern, SplitFractions
from beam_job.dataset.labels import read_label_map
from beam_job.extraction.folders import folders_in, name_below
from beam_job.extraction.limits import ClassLimits

# What examples are counted as that have none of the classes that are wanted.
_OTHERS = PassedOver("of other classes")
# Likewise, those beyond the limit.
_ENOUGH = PassedOver("beyond --max_per_class")


@dataclasses.dataclass(frozen=True)
class LabelPolicy:
    """What the options say of labels.

    Attributes:
      kind: What they are.
      pattern: What finds the label in an id; None to keep what the input says.
      names: Label to its name in the dataset, for all that may occur; None to keep labels as they are.
      wanted: The only classes whose examples are taken; all of them without any.
      shared: The number of folders that all examples in folders of containers share; None as long as it is not known.
    """

    kind: LabelKind = LabelKind.CLASS
    pattern: LabelPattern | None = None
    names: Mapping[str, str] | None = None
    wanted: tuple[str, ...] = ()
    shared: int | None = None

    def found(self, ref: ExampleRef) -> Label:
        """The label as the input or the pattern has it."""
        return self.pattern.label_of(ref.id) if self.pattern is not None else ref.label

    def label_of(self, ref: ExampleRef) -> Label:
        """The label of an example in the dataset, of the dataset's kind.

        Raises:
          BadReferenceError: it cannot be of that kind, or has no name.
        """
        label = fitted(self.found(ref), self.kind)
        if isinstance(label, str):
            return self._name(label)
        return tuple(dict.fromkeys(map(self._name, label))) if isinstance(label, tuple) else label

    def _name(self, label: str) -> str:
        """The name of a class in the dataset.

        Raises:
          BadReferenceError: it has none, or is a folder while it is not known which one.
        """
        if self.shared is not None or label.startswith(CLASS_FOLDER_LABEL):
            label = name_below(label, self.shared or 0)
        if not self.chooses:
            return label
        if label.startswith(FOLDER_LABEL):
            folders = "/".join(folders_in(label))
            raise BadReferenceError(f"expected a label beside the example, as the first ones have, found {folders!r}")
        if self.names is None:
            return label
        if label not in self.names:
            hint = did_you_mean(label, self.names)
            raise BadReferenceError(
                f"expected one of the {len(self.names)} labels in --label_map, found {label!r}{hint}"
            )
        return self.names[label]

    @property
    def chooses(self) -> bool:
        """Whether it must be known what the classes are called."""
        return self.names is not None or bool(self.wanted)

    def name_below(self, label: str, shared: int) -> str | None:
        """The class in the dataset that a label stands for, below so many shared folders; None for none."""
        try:
            found = self.without_others(dataclasses.replace(self, shared=shared)._name(label))
        except BadReferenceError:
            return None
        return found if isinstance(found, str) else None

    def without_others(self, label: Label) -> Label:
        """A label without the classes that are not wanted; None, or no classes, if none is left."""
        if not self.wanted:
            return label
        if isinstance(label, tuple):
            return tuple(name for name in label if name in self.wanted)
        return label if label in self.wanted else None

    def to_json(self) -> dict[str, Any]:
        names = dict(self.names) if self.names is not None else None
        pattern = str(self.pattern) if self.pattern else None
        found = {"kind": self.kind.value, "pattern": pattern, "names": names, "wanted": list(self.wanted)}
        return {**found, "shared": self.shared}


@dataclasses.dataclass(frozen=True)
class RefPolicy:
    """What the options say of examples.

    Attributes:
      fractions: Shares of the splits, or None to put all examples in ``train``.
      seed: Seed of the hash that assigns splits.
      labels: What they say of labels.
      limits: Which examples of each class are taken, once that is known; None for all of them.
    """

    fractions: SplitFractions | None
    seed: int
    labels: LabelPolicy = dataclasses.field(default_factory=LabelPolicy)
    limits: ClassLimits | None = None

    @classmethod
    def of(cls, options: SourceOptions) -> RefPolicy:
        """The policy that options ask for.

        Raises:
          InputError: the file of the label map cannot be read.
        """
        labels = LabelPolicy(
            pattern=options.label_pattern,
            names=read_label_map(options.label_map) if options.label_map else None,
            wanted=options.classes.names if options.classes else (),
        )
        return cls(options.splits, options.split_seed, labels)

    def with_kind(self, kind: LabelKind) -> RefPolicy:
        """The same policy in a dataset with labels of a kind."""
        return dataclasses.replace(self, labels=dataclasses.replace(self.labels, kind=kind))

    def with_limits(self, limits: ClassLimits | None) -> RefPolicy:
        """The same policy when all examples have been counted, or need not be."""
        if limits is None:
            return self
        return dataclasses.replace(self, limits=limits, labels=dataclasses.replace(self.labels, shared=limits.shared))

    def counting(self) -> RefPolicy:
        """The policy by which examples of containers are counted: all of them, with the labels that they have."""
        return dataclasses.replace(self, labels=dataclasses.replace(self.labels, names=None, wanted=()))

    def to_json(self) -> dict[str, Any]:
        fractions = self.fractions.as_dict() if self.fractions else None
        limits = sorted(map(repr, self.limits.largest.items())) if self.limits else None
        return {"fractions": fractions, "seed": self.seed, "labels": self.labels.to_json(), "limits": limits}

    def assign(self, ref: ExampleRef, told: str | None = None) -> ExampleRef | PassedOver:
        """``ref`` with its label and split; with a problem, if its label makes no sense. Other classes are passed over.

        Args:
          ref: As the input lists it.
          told: The split that the name of its container tells, if it has none.
        """
        try:
            label = self.labels.label_of(ref)
        except BadReferenceError as error:
            return self.assign_split(dataclasses.replace(ref, label=None, problem=ref.problem or str(error)), told)
        if ref.problem is None and self.labels.wanted:
            label = self.labels.without_others(label)
            if not names_in(label):
                return _OTHERS
        return self.limited(
            self.assign_split(ref if label == ref.label else dataclasses.replace(ref, label=label), told)
        )

    def limited(self, ref: ExampleRef) -> ExampleRef | PassedOver:
        """``ref``, which has a split and a label, unless there are enough examples of its class."""
        return ref if self.limits is None or ref.problem is not None or self.limits.takes(ref) else _ENOUGH

    def assign_split(self, ref: ExampleRef, told: str | None = None) -> ExampleRef:
        """``ref`` with a split: its own, or one by a stable hash of its group or id.

        Without fractions, ``told``, if there is one, takes the place of the hash.
        """
        if ref.split is not None:
            return ref
        if told is not None and self.fractions is None:
            return dataclasses.replace(ref, split=told)
        fractions = self.fractions.as_dict() if self.fractions else {}
        return dataclasses.replace(ref, split=assign_split(ref.group or ref.id, fractions, self.seed))

    def take(self, found: Content, told: str | None = None) -> Content | PassedOver:
        """An example that was read with its container, as :meth:`assign` has it."""
        ref, content = found
        if isinstance(content, ErrorRow):
            return self.assign_split(dataclasses.replace(ref, label=None), told), content
        assigned = self.assign(ref, told)
        if isinstance(assigned, PassedOver):
            return assigned
        if assigned.problem is not None:
            content = ErrorRow.of(assigned, BadReferenceError(assigned.problem))
        return assigned, content
