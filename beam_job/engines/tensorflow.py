"""The engine that TensorFlow itself is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beam_job.core.errors import ModelRejectedError
from beam_job.core.records import Float32Array
from beam_job.engines.base import BF16, padded
from beam_job.models.spec import FrozenModel
from beam_job.runtime.tensorflow import import_tensorflow


class TensorFlowEngine:
    """Runs the frozen graph, always on a full batch, on a graphics card where TensorFlow sees one.

    The graph lives in a session of its own, whose settings are nobody else's: an engine in bfloat16 leaves the rest of
    the process as it was. On a processor each operation takes one thread and ``streams`` calls run side by side, which
    beats one call on several threads.
    """

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        self._tf = tf = import_tensorflow()
        self._batch_size = batch_size
        self._names = list(model.outputs)
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(model.graph.read_bytes())
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        settings = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=streams)
        settings.gpu_options.allow_growth = True
        if precision == BF16:
            # The rewrite of oneDNN: convolutions and products in bfloat16, with sums in float32.
            rewriter = settings.graph_options.rewrite_options
            rewriter.auto_mixed_precision_onednn_bfloat16 = rewriter.ON
        session = tf.compat.v1.Session(graph=graph, config=settings)
        self._call = session.make_callable(list(model.outputs.values()), feed_list=[model.input])

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        answer = self._run(padded(pixels, self._batch_size))
        return {name: values[: len(pixels)] for name, values in zip(self._names, answer, strict=True)}

    def _run(self, batch: Float32Array) -> list[Float32Array]:
        try:
            answer: list[Float32Array] = self._call(batch)
        except self._tf.errors.InvalidArgumentError as error:
            raise ModelRejectedError(f"the model refused the pixels: {error.message.splitlines()[0]}") from None
        except self._tf.errors.ResourceExhaustedError:
            # A graphics card's memory does not hold the batch: half of it may fit.
            if len(batch) == 1:
                raise
            middle = len(batch) // 2
            halves = self._run(batch[:middle]), self._run(batch[middle:])
            return [np.concatenate(pair) for pair in zip(*halves, strict=True)]
        return answer
