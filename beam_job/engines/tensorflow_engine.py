"""The engine that TensorFlow itself is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beam_job.errors import ModelRejectedError
from beam_job.models import FrozenModel
from beam_job.records import Float32Array
from beam_job.tensorflow_runtime import import_tensorflow, use_single_threaded_operations


class TensorFlowEngine:
    """Runs the frozen graph, always on a full batch: a short one is padded, so every row is computed alike."""

    def __init__(self, model: FrozenModel, batch_size: int, streams: int) -> None:
        use_single_threaded_operations(streams)
        self._tf = tf = import_tensorflow()
        self._batch_size = batch_size
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(model.graph.read_bytes())
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        outputs = {name: wrapped.graph.get_tensor_by_name(tensor) for name, tensor in model.outputs.items()}
        self._function = wrapped.prune(wrapped.graph.get_tensor_by_name(model.input), outputs)

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        count = len(pixels)
        if count < self._batch_size:
            padding = np.zeros((self._batch_size - count, *pixels.shape[1:]), np.float32)
            pixels = np.concatenate((pixels, padding))
        try:
            answer = self._function(self._tf.constant(pixels))
        except self._tf.errors.InvalidArgumentError as error:
            raise ModelRejectedError(f"the model refused the pixels: {error.message.splitlines()[0]}") from None
        return {name: tensor.numpy()[:count] for name, tensor in answer.items()}
