"""Selects the modality that a model takes."""

from __future__ import annotations

from beam_job.core.errors import ModelError
from beam_job.modalities.base import Modality, ModelInput
from beam_job.modalities.registry import MODALITIES


def modality_of(declared: ModelInput) -> type[Modality]:
    """The modality that a model with this input takes.

    Raises:
      ModelError: it takes none of them.
    """
    members = list(MODALITIES.latest_first())
    for modality in members:
        if modality.matches(declared):
            return modality
    wanted = " or ".join(modality.takes for modality in members)
    shape = "of unknown shape" if declared.shape is None else list(declared.shape)
    raise ModelError(f"Expected a model of {wanted}, found an input {declared.name!r} of {declared.dtype} {shape}.")
