"""Loads a model of texts in two parts: a preprocessor from texts to the numbers of tokens, and an encoder of those."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_job.core.values import DEFAULT_LAYER
from beam_job.models.loaders.base import LoadedModel, LoadRequest
from beam_job.models.registry import LOADERS

# What an encoder is told of each position of a sequence: 1 for a token, 0 for what fills it up.
# https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
MASK = "input_mask"


def load_in_two_parts(first: LoadRequest, second: LoadRequest) -> LoadedModel:
    """The two parts as one model.

    Args:
      first: The preprocessor.
      second: The encoder.

    Raises:
      ModelError: one of them cannot be loaded, or the encoder takes something else than the preprocessor gives.
    """
    preprocessor = LOADERS.get(first.form)(first)
    fed = tuple(name for name in preprocessor.outputs if name != DEFAULT_LAYER)
    encoder = LOADERS.get(second.form)(dataclasses.replace(second, fed=fed))

    def call(batches: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
        tokens = preprocessor.call(batches, fed)
        return {**{name: tokens[name] for name in names if name == MASK}, **encoder.call(tokens, names)}

    return dataclasses.replace(
        encoder,
        inputs=preprocessor.inputs,
        call=call,
        owner=(*preprocessor.owners, *encoder.owners),
        notes=(*preprocessor.notes, *encoder.notes),
        mask=MASK if MASK in fed else None,
    )
