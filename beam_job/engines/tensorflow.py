"""TensorFlow as an engine: the reference, and the only one that runs every model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ModelRejectedError, reason_of
from beam_job.core.records import Float32Array
from beam_job.engines.base import BF16, FP32, Answer, padded
from beam_job.modalities.base import Batch
from beam_job.models.frozen import FrozenModel
from beam_job.models.resources import fill_tables
from beam_job.runtime.tensorflow import import_operations, import_tensorflow


class TensorFlowEngine:
    """Runs the frozen graph, always on a full batch, on a GPU if TensorFlow sees one.

    The graph is in its own session, whose settings affect nothing else: an engine in bfloat16 leaves the rest of
    the process as it was. On a CPU each operation takes one thread and ``streams`` calls run side by side, which is
    faster than one call on several threads.
    """

    # TensorFlow's kernels for CPUs without AVX-512 round the rows of a larger batch differently, by their place.
    batch_sizes: ClassVar[Mapping[str, int]] = {FP32: 1, BF16: 1}
    needs_fixed_shape: ClassVar[bool] = False

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        self._tf = tf = import_tensorflow()
        for package in model.packages:
            import_operations(package)
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
        fill_tables(session)
        self._call = session.make_callable(list(model.outputs.values()), feed_list=[model.input])

    def run(self, batch: Batch) -> Answer:
        if isinstance(batch, list):  # rows of different lengths
            answers = [self._run(row[np.newaxis]) for row in batch]
            return {name: [answer[place][0] for answer in answers] for place, name in enumerate(self._names)}
        # Strings are not filled up: their rows do not share a kernel.
        answer = self._run(batch if batch.dtype.hasobject else padded(batch, self._batch_size))
        return dict(zip(self._names, (values[: len(batch)] for values in answer), strict=True))

    def _run(self, batch: npt.NDArray[Any]) -> list[Float32Array]:
        try:
            answer: list[Float32Array] = self._call(batch)
        except self._tf.errors.InvalidArgumentError as error:
            raise ModelRejectedError(f"the model refused the example: {reason_of(error)}") from None
        except self._tf.errors.ResourceExhaustedError:
            # The batch does not fit into the GPU's memory; half of it may.
            if len(batch) == 1:
                raise
            middle = len(batch) // 2
            halves = self._run(batch[:middle]), self._run(batch[middle:])
            return [np.concatenate(pair) for pair in zip(*halves, strict=True)]
        return answer
