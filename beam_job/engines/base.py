"""What an engine is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from beam_job.core.records import Float32Array
from beam_job.modalities.base import Batch
from beam_job.models.frozen import FrozenModel

FP32, BF16 = "fp32", "bf16"
# Feature name to an array with a row for each example, or to a list of such rows.
Answer = Mapping[str, Float32Array | list[Float32Array]]
# The engine that the others are compared with.
REFERENCE_ENGINE = "tensorflow"


@dataclasses.dataclass(frozen=True)
class EngineChoice:
    """Which engine runs the model, and how well it agrees with TensorFlow.

    Attributes:
      name: The engine's name in the registry.
      precision: ``fp32`` or ``bf16``.
      batch_size: Examples per call of the model.
      reason: Why this one was chosen, in a few words.
      parity: What was measured on examples of the input: their number, the smallest cosine between a feature and
        TensorFlow's in fp32, and the mean relative distance from it; None for TensorFlow in fp32 itself.
      milliseconds: Time per example on one core of the launching machine, for each engine that was compared.
      alone: Whether the features of an example depend on its neighbours in a batch, so that it is called alone.
      notes: What the user should know of the features.
    """

    name: str = REFERENCE_ENGINE
    precision: str = FP32
    batch_size: int = 1
    reason: str = ""
    parity: Mapping[str, float] | None = None
    milliseconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    alone: bool = False
    notes: tuple[str, ...] = ()

    def identity(self) -> list[str]:
        """What decides the features."""
        return [self.name, self.precision]

    def to_json(self) -> dict[str, Any]:
        """The field ``engine`` of run.json."""
        parity = dict(self.parity) if self.parity else None
        alone = {"alone": True} if self.alone else {}
        return {"name": self.name, "precision": self.precision, "reason": self.reason, "parity": parity, **alone}


class Engine(Protocol):
    """Runs a frozen model. One per process; ``run`` is called from several threads at once.

    Attributes:
      batch_sizes: Precision to the engine's own batch size on a CPU. A larger one gains nothing there: the activations
        no longer fit into a core's cache.
      needs_fixed_shape: Whether it only takes batches of one shape, as an array of numbers.
    """

    batch_sizes: ClassVar[Mapping[str, int]]
    needs_fixed_shape: ClassVar[bool]

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        """An engine that is ready to run.

        Args:
          model: The frozen model.
          batch_size: The largest batch that it will get.
          streams: How many threads will call it at once.
          precision: ``fp32`` or ``bf16``.

        Raises:
          ModelError: the engine cannot run the model, or not in this precision on this CPU.
        """

    def run(self, batch: Batch) -> Answer:
        """The features of a batch.

        Args:
          batch: What ``as_batch`` gave for n rows, n at most the engine's batch size. It is not modified.

        Returns:
          Feature name to float32 [n, ...], or to a list of n arrays where the rows differ in length. A row depends
          neither on its neighbours nor on n, and at the engine's own batch size not on its place either.

        Raises:
          ModelRejectedError: the model refuses these examples.
        """


def padded(batch: npt.NDArray[Any], batch_size: int) -> npt.NDArray[Any]:
    """``batch`` filled up with zeros to a full batch, so that every row is computed in the same way."""
    missing = batch_size - len(batch)
    if not missing:
        return batch
    return np.concatenate((batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)))
