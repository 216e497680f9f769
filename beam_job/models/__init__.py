"""What a model is: where it comes from, what it takes, what it gives. How it is run is the engines' affair."""

from beam_job.models.base import (
    FrozenModel,
    ModelSpec,
    describe_model,
    fetch_model,
    freeze_artefact,
    frozen_model,
    list_layers,
)
from beam_job.models.preprocessing import Preprocessing

__all__ = [
    "FrozenModel",
    "ModelSpec",
    "Preprocessing",
    "describe_model",
    "fetch_model",
    "freeze_artefact",
    "frozen_model",
    "list_layers",
]
