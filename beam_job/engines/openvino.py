"""OpenVINO as an engine; it reads the frozen graph itself, so a process that runs it never imports TensorFlow."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import openvino

from beam_job.core.errors import ModelError
from beam_job.engines.base import BF16, FP32, Answer, padded
from beam_job.modalities.base import Batch
from beam_job.models.frozen import FrozenModel

# Total size of the copies of the weights, in bytes, up to which every stream has its own copy.
_COPIED_WEIGHTS = 512 << 20


class OpenVinoEngine:
    """Runs the frozen graph on the CPU, with one stream of one thread for each thread that calls.

    A compiled network gives work to the stream that has waited longest, whose thread last ran on another core: the
    caller's core is idle until the system moves it. So each stream has its own network as long as the copies of
    the weights are small; with large weights the streams share one.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = {FP32: 2, BF16: 4}
    needs_fixed_shape: ClassVar[bool] = True

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        shape = model.fixed_shape
        if shape is None:
            raise ModelError("OpenVINO runs models of numbers of a fixed shape; use --engine=tensorflow.")
        full = (batch_size, *shape)
        copies = streams if model.graph.stat().st_size * streams <= _COPIED_WEIGHTS else 1
        try:
            networks = _compiled(model, full, copies, streams // copies, precision)
        except RuntimeError as error:
            words = " ".join(str(error).split())
            raise ModelError(f"OpenVINO cannot run the model ({words[:300]}); use --engine=tensorflow.") from None
        self._batch_size = batch_size
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        zeros = np.zeros(full, np.float32)
        for number in range(streams):
            network = networks[number % copies]
            request = network.create_infer_request()
            # The first inference of a process must not happen in two threads at once, which can deadlock.
            request.infer([zeros])
            self._requests.put((request, {name: network.output(tensor) for name, tensor in model.outputs.items()}))

    def run(self, batch: Batch) -> Answer:
        assert isinstance(batch, np.ndarray)
        count = len(batch)
        request, outputs = stream = self._requests.get()
        try:
            # A tensor around the array, which OpenVINO does not have to inspect: half of the cost of a call.
            tensor = openvino.Tensor(padded(batch, self._batch_size), shared_memory=True)
            answer = request.infer(tensor, share_outputs=True)
            # Copied, since the next batch overwrites the request's own arrays.
            return {name: np.array(answer[output][:count], np.float32) for name, output in outputs.items()}
        finally:
            self._requests.put(stream)


def _compiled(model: FrozenModel, shape: tuple[int, ...], copies: int, streams: int, precision: str) -> list[Any]:
    """The network, compiled ``copies`` times, with ``streams`` streams each."""
    core = openvino.Core()
    # On a CPU without bfloat16, OpenVINO silently computes in float32 instead.
    if precision == BF16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError("OpenVINO does not compute in bfloat16 on this processor; leave out --precision=bf16.")
    network = core.read_model(model.graph)
    network.reshape(list(shape))
    settings = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        # With pinning, the streams of all processes on a machine would share its first cores.
        "ENABLE_CPU_PINNING": False,
        # By default OpenVINO uses bfloat16 wherever the CPU has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == BF16 else "f32",
    }
    return [core.compile_model(network, "CPU", settings) for _ in range(copies)]
