"""What an engine is, and the set of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from beam_job.models import FrozenModel, ModelSpec, frozen_model
from beam_job.records import Float32Array
from beam_job.registry import Entry, Registry

DEFAULT_ENGINE = "tensorflow"


class Engine(Protocol):
    """Runs a frozen model. One per process; its ``run`` is called from several threads at once."""

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        """The features of a batch.

        Args:
          pixels: float32 [n, H, W, 3] in the model's range, n at most the batch size the engine was made for.

        Returns:
          Feature name to float32 [n, ...]; a row does not depend on its neighbours, nor on n.

        Raises:
          ModelRejectedError: the model refuses these pixels.
        """


class EngineType(Protocol):
    """How an engine is made."""

    def __call__(self, model: FrozenModel, batch_size: int, streams: int) -> Engine: ...


ENGINES: Registry[EngineType] = Registry(
    "engine",
    {"tensorflow": Entry("beam_job.engines.tensorflow_engine:TensorFlowEngine", "pip install tensorflow")},
)


def load_engine(name: str, spec: ModelSpec, batch_size: int, streams: int) -> Engine:
    """An engine with its model, ready to run.

    Args:
      name: Which engine.
      spec: Which model.
      batch_size: The largest batch that it will be given.
      streams: How many threads will call it at once.

    Raises:
      UsageError: there is no such engine, or it is not installed.
      ModelError: the model cannot be had.
    """
    return ENGINES.get(name)(frozen_model(spec), batch_size, streams)
