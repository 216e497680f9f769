"""What a model is: where it comes from, what it takes, what it gives. How it is run is the engines' affair."""

from beam_job.models.base import FrozenModel, ModelSpec, Preprocessing, describe_model, frozen_model

__all__ = ["FrozenModel", "ModelSpec", "Preprocessing", "describe_model", "frozen_model"]
