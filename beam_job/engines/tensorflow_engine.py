"""The engine that TensorFlow itself is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_job.engines.base import BF16, padded
from beam_job.errors import ModelRejectedError
from beam_job.models import FrozenModel
from beam_job.records import Float32Array
from beam_job.tensorflow_runtime import import_tensorflow, use_single_threaded_operations


class TensorFlowEngine:
    """Runs the frozen graph, always on a full batch, on a graphics card where TensorFlow sees one."""

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        use_single_threaded_operations(streams)
        self._tf = tf = import_tensorflow()
        for card in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(card, True)
        if precision == BF16:
            # The rewrite of oneDNN: convolutions and products in bfloat16, with sums in float32.
            tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
        self._batch_size = batch_size
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(model.graph.read_bytes())
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        outputs = {name: wrapped.graph.get_tensor_by_name(tensor) for name, tensor in model.outputs.items()}
        self._function = wrapped.prune(wrapped.graph.get_tensor_by_name(model.input), outputs)

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        count = len(pixels)
        answer = self._run(padded(pixels, self._batch_size))
        return {name: values[:count] for name, values in answer.items()}

    def _run(self, batch: Float32Array) -> dict[str, Any]:
        try:
            return {name: tensor.numpy() for name, tensor in self._function(self._tf.constant(batch)).items()}
        except self._tf.errors.InvalidArgumentError as error:
            raise ModelRejectedError(f"the model refused the pixels: {error.message.splitlines()[0]}") from None
        except self._tf.errors.ResourceExhaustedError:
            # A graphics card's memory does not hold the batch: half of it may fit.
            if len(batch) == 1:
                raise
            middle = len(batch) // 2
            halves = self._run(batch[:middle]), self._run(batch[middle:])
            return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
