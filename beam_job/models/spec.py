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
from beam_job.core.records import Shape
from beam_job.modalities.base import Batch, FrozenInput, Modality, as_batch
from beam_job.modalities.registry import MODALITIES
from beam_job.models.frozen import FrozenModel, feature_names, freeze_artefact
from beam_job.models.pooling import joined_shape
from beam_job.models.sources.selection import fetch_model


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as the whole run sees it: small, comparable, the same in every process.

    Attributes:
      options: What the user called it, and which layers were chosen.
      digest: Hash that identifies its content.
      modality: From the bytes of an example to its input.
      example_shape: The shape of one row of that, None for a length that differs between examples.
      outputs: Feature name to the shape for one example, None for a length that differs between examples.
      notes: What the user should know of how it was read.
    """

    options: ModelOptions
    digest: str
    modality: Modality
    example_shape: Shape
    outputs: Mapping[str, Shape]
    notes: tuple[str, ...] = ()

    @property
    def handle(self) -> str:
        """What the user called the model."""
        return self.options.model

    @property
    def is_windowed(self) -> bool:
        """Whether an example is several rows of the model's batch."""
        return self.modality.is_windowed(self.example_shape)

    @property
    def pools(self) -> Mapping[str, str]:
        """Feature name to how its positions are pooled."""
        return pools_of(self.options, self.modality)

    def rows(self, examples: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The rows of the model's batch for examples that the modality prepared."""
        return [window for example in examples for window in example] if self.is_windowed else list(examples)

    def row_of_each(self, examples: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """A row of the model's batch for each of such examples; the one in the middle of several."""
        return [example[len(example) // 2] for example in examples] if self.is_windowed else list(examples)

    def batch(self, rows: Sequence[npt.NDArray[Any]]) -> Batch:
        """A batch of such rows, as engines take it."""
        return as_batch(rows, self.example_shape)

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


def pools_of(options: ModelOptions, modality: Modality | type[Modality]) -> dict[str, str]:
    """Feature name to how its positions are pooled."""
    pools = [layer.pool for layer in options.layer] or [modality.default_pool]
    return dict(zip(feature_names(options.layer), pools, strict=True))


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
    known = FrozenInput(
        options.model,
        frozen.example_shape,
        frozen.declared,
        artefact.convention,
        frozen.first_steps,
        frozen.rate or artefact.rate,
    )
    decode = decode or DecodeOptions()
    for group in (options, decode):
        check_modality(group, frozen.modality)
    modality = MODALITIES.get(frozen.modality).of(known, options, decode)
    notes = (*artefact.notes, *frozen.notes, *modality.notes())
    outputs = frozen.shapes
    if modality.is_windowed(frozen.example_shape):
        pools = pools_of(options, modality)
        outputs = {name: joined_shape(shape, pools[name]) for name, shape in frozen.shapes.items()}
    return ModelSpec(options, artefact.digest, modality, frozen.example_shape, outputs, notes)


def frozen_model(spec: ModelSpec) -> FrozenModel:
    """The frozen graph of a model, from the cache or made now.

    Raises:
      ModelError: the model cannot be fetched or frozen, or it is not the one that the run started with.
    """
    artefact = fetch_model(spec.options)
    if artefact.digest != spec.digest:
        raise ModelError(f"The model {spec.handle} has changed since the run started; start the run again.")
    return freeze_artefact(artefact, spec.options)
