"""Models through the whole of our loading, freezing and running."""

from __future__ import annotations

import numpy as np

from beam_job.core.options import ModelOptions
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import load_engine
from beam_job.models.spec import describe_model


def features(options: ModelOptions, batch: np.ndarray) -> dict[str, np.ndarray]:
    """The features of a batch that is in the model's convention already, by TensorFlow."""
    return dict(load_engine(EngineChoice(batch_size=len(batch)), describe_model(options), 1).run(batch))
