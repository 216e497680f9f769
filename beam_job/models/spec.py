"""What a model is to a run: its identity, its modality, its outputs.

    handle -> ModelSource.fetch -> an artefact on this machine, with its digest and what its publisher declares
           -> freezing          -> one GraphDef without variables: a batch in, named arrays out
           -> the cache         -> each step is done once per machine, whatever the number of processes

A :class:`ModelSpec` travels to the workers; :func:`frozen_model` gives the frozen graph for it on any machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.modalities.base import FrozenInput, Modality
from beam_job.modalities.registry import MODALITIES
from beam_job.models.frozen import FrozenModel, freeze_artefact
from beam_job.models.sources.selection import fetch_model


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as the whole run sees it: small, comparable, the same in every process.

    Attributes:
      options: What the user called it, and which layers were chosen.
      digest: Hash that identifies its content.
      modality: From the bytes of an example to its input.
      outputs: Feature name to the shape for one example; -1 where the graph does not fix a length.
      notes: What the user should know of how it was read.
    """

    options: ModelOptions
    digest: str
    modality: Modality
    outputs: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()

    @property
    def handle(self) -> str:
        """What the user called the model."""
        return self.options.model

    def identity(self) -> list[str]:
        """What decides the features, beside the preprocessing."""
        choices = {"signature": self.options.signature, "tags": self.options.tags}
        chosen = [f"{name} {value}" for name, value in choices.items() if value]
        return [self.digest, *map(str, self.options.layer), *chosen]

    def to_json(self) -> dict[str, Any]:
        """The field ``model`` of run.json."""
        return {
            "handle": self.handle,
            "digest": self.digest,
            "modality": self.modality.name,
            "layers": [str(layer) for layer in self.options.layer],
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
        }


def describe_model(options: ModelOptions, decode: DecodeOptions | None = None) -> ModelSpec:
    """What a model is, from the model itself, what its publisher declares, and flags.

    Args:
      options: The model and its flags.
      decode: How bytes are decoded; by default as the options have it by default.

    Raises:
      FlagNeededError: something is not known, and a flag must give it.
      ModelError: the model cannot be fetched or frozen, or a flag contradicts it.
    """
    artefact = fetch_model(options)
    frozen = freeze_artefact(artefact, options)
    known = FrozenInput(options.model, frozen.example_shape, frozen.declared, artefact.convention, frozen.first_steps)
    modality = MODALITIES.get(frozen.modality).of(known, options, decode or DecodeOptions())
    notes = (*artefact.notes, *frozen.notes, *modality.notes())
    return ModelSpec(options, artefact.digest, modality, frozen.shapes, notes)


def frozen_model(spec: ModelSpec) -> FrozenModel:
    """The frozen graph of a model, from the cache or made now.

    Raises:
      ModelError: the model cannot be fetched or frozen, or it is not the one that the run started with.
    """
    artefact = fetch_model(spec.options)
    if artefact.digest != spec.digest:
        raise ModelError(f"The model {spec.handle} has changed since the run started; start the run again.")
    return freeze_artefact(artefact, spec.options)
