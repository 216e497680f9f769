"""What an engine is, and the set of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from beam_job.core.records import Float32Array
from beam_job.models.spec import FrozenModel, ModelSpec, frozen_model
from beam_job.runtime.registry import Entry, Registry

REFERENCE_ENGINE = "tensorflow"
FP32, BF16 = "fp32", "bf16"


@dataclasses.dataclass(frozen=True)
class EngineChoice:
    """Which engine runs the model, and how it was found to agree with TensorFlow.

    Attributes:
      name: The engine's name in the registry.
      precision: ``fp32`` or ``bf16``.
      reason: Why this one, in a few words.
      parity: What was measured on pictures of the input: their number, the smallest cosine between a feature and
        TensorFlow's in fp32, and the mean relative distance from it; None when it is TensorFlow in fp32 itself.
      milliseconds: For each engine that was compared, its time for an image on one core of the launching machine.
    """

    name: str = REFERENCE_ENGINE
    precision: str = FP32
    reason: str = ""
    parity: Mapping[str, float] | None = None
    milliseconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def identity(self) -> list[str]:
        """What decides the features."""
        return [self.name, self.precision]

    def to_json(self) -> dict[str, Any]:
        """The field ``engine`` of run.json."""
        parity = dict(self.parity) if self.parity else None
        return {"name": self.name, "precision": self.precision, "reason": self.reason, "parity": parity}


class Engine(Protocol):
    """Runs a frozen model. One per process; its ``run`` is called from several threads at once."""

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        """The features of a batch.

        Args:
          pixels: float32 [n, H, W, 3] in the model's convention, n at most the batch size the engine was made for.

        Returns:
          Feature name to float32 [n, ...]; a row depends neither on its neighbours nor on n, and at the engine's own
          batch size not on its place either.

        Raises:
          ModelRejectedError: the model refuses these pixels.
        """


# Each engine's own batch size at each precision: it gains nothing from a larger one on a processor, where what passes
# from layer to layer no longer stays in a core's cache. TensorFlow's kernels for processors without AVX-512 round the
# rows of a larger batch differently by their place.
BATCH_SIZES = {"tensorflow": {FP32: 1, BF16: 1}, "openvino": {FP32: 2, BF16: 4}}


class EngineType(Protocol):
    """How an engine is made."""

    def __call__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> Engine: ...


ENGINES: Registry[EngineType] = Registry(
    "engine",
    {
        "tensorflow": Entry("beam_job.engines.tensorflow:TensorFlowEngine", "pip install tensorflow"),
        "openvino": Entry("beam_job.engines.openvino:OpenVinoEngine", 'pip install "beam_job[openvino]"'),
    },
)


def load_engine(choice: EngineChoice, spec: ModelSpec, batch_size: int, streams: int) -> Engine:
    """An engine with its model, ready to run.

    Args:
      choice: Which engine, at which precision.
      spec: Which model.
      batch_size: The largest batch that it will be given.
      streams: How many threads will call it at once.

    Raises:
      UsageError: there is no such engine, or it is not installed.
      ModelError: the model cannot be had.
    """
    return ENGINES.get(choice.name)(frozen_model(spec), batch_size, streams, choice.precision)


def padded(pixels: Float32Array, batch_size: int) -> Float32Array:
    """``pixels`` filled up with black to a full batch, so that every row is computed alike."""
    missing = batch_size - len(pixels)
    if not missing:
        return pixels
    return np.concatenate((pixels, np.zeros((missing, *pixels.shape[1:]), np.float32)))
