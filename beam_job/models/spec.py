"""What a model is to a run: its identity, its modality, its outputs.

    handle -> ModelSource.fetch -> an artefact on this machine, with its digest and what its publisher declares
           -> freezing          -> one GraphDef without variables: a batch in, named arrays out
           -> the cache         -> each step is done once per machine, whatever the number of processes

A :class:`ModelSpec` travels to the workers; :func:`frozen_model` gives the frozen graph for it on any machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.core.option_fields import check_modality
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.modalities.base import Batch, FrozenInput, Modality, Shape, as_batch
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
      example_shape: The shape of that, None for a length that differs between examples.
      outputs: Feature name to the shape for one example; -1 where the graph does not fix a length.
      notes: What the user should know of how it was read.
    """

    options: ModelOptions
    digest: str
    modality: Modality
    example_shape: Shape
    outputs: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()

    @property
    def handle(self) -> str:
        """What the user called the model."""
        return self.options.model

    def batch(self, examples: Sequence[npt.NDArray[Any]]) -> Batch:
        """A batch of examples that the modality prepared, as engines take it."""
        return as_batch(examples, self.example_shape)

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
            **({"text_preprocessor": self.options.text_preprocessor} if self.options.text_preprocessor else {}),
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
      UsageError: a flag is for models of another modality.
    """
    artefact = fetch_model(options)
    frozen = freeze_artefact(artefact, options)
    known = FrozenInput(options.model, frozen.example_shape, frozen.declared, artefact.convention, frozen.first_steps)
    decode = decode or DecodeOptions()
    for group in (options, decode):
        check_modality(group, frozen.modality)
    modality = MODALITIES.get(frozen.modality).of(known, options, decode)
    notes = (*artefact.notes, *frozen.notes, *modality.notes())
    return ModelSpec(options, artefact.digest, modality, frozen.example_shape, frozen.shapes, notes)


def frozen_model(spec: ModelSpec) -> FrozenModel:
    """The frozen graph of a model, from the cache or made now.

    Raises:
      ModelError: the model cannot be fetched or frozen, or it is not the one that the run started with.
    """
    artefact = fetch_model(spec.options)
    if artefact.digest != spec.digest:
        raise ModelError(f"The model {spec.handle} has changed since the run started; start the run again.")
    return freeze_artefact(artefact, spec.options)
