"""OpenVINO, which reads the frozen graph as it is; a process that runs it never imports TensorFlow."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino

from beam_job.core.errors import ModelError
from beam_job.core.records import Float32Array
from beam_job.engines.base import BF16, padded
from beam_job.models.spec import FrozenModel

# Bytes of weights up to which every stream has a copy of its own.
_COPIED_WEIGHTS = 512 << 20


class OpenVinoEngine:
    """Runs the frozen graph on the processor, one stream of one thread for each thread that calls.

    A compiled network hands its streams' work to whichever of their threads has waited longest, and that one has last
    run on another core: the core of the caller stands idle until the system moves it. So each stream has a network of
    its own, as long as the copies of the weights are small; for large weights the streams share one.
    """

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        copies = streams if model.graph.stat().st_size * streams <= _COPIED_WEIGHTS else 1
        try:
            networks = _compiled(model, batch_size, copies, streams // copies, precision)
        except RuntimeError as error:
            words = " ".join(str(error).split())
            raise ModelError(f"OpenVINO cannot run the model ({words[:300]}); use --engine=tensorflow.") from None
        self._batch_size = batch_size
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        black = np.zeros((batch_size, model.size.height, model.size.width, 3), np.float32)
        for number in range(streams):
            network = networks[number % copies]
            request = network.create_infer_request()
            # The first inference of a process must not happen in two threads at once, which can hang for good.
            request.infer([black])
            self._requests.put((request, {name: network.output(tensor) for name, tensor in model.outputs.items()}))

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        count = len(pixels)
        request, outputs = mine = self._requests.get()
        try:
            # A tensor of its own over the array, which OpenVINO need not look through: half of what a call costs.
            tensor = openvino.Tensor(padded(pixels, self._batch_size), shared_memory=True)
            answer = request.infer(tensor, share_outputs=True)
            # Copied, since the request's own arrays are written to by the next batch.
            return {name: np.array(answer[output][:count], np.float32) for name, output in outputs.items()}
        finally:
            self._requests.put(mine)


def _compiled(model: FrozenModel, batch_size: int, copies: int, streams: int, precision: str) -> list[Any]:
    """The network, compiled ``copies`` times, with ``streams`` streams each."""
    core = openvino.Core()
    # Asked for bfloat16 where the processor has it not, OpenVINO computes in float32 and says nothing.
    if precision == BF16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError("OpenVINO does not compute in bfloat16 on this processor; leave out --precision=bf16.")
    network = core.read_model(model.graph)
    network.reshape([batch_size, model.size.height, model.size.width, 3])
    settings = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        # Pinned, the streams of all processes of a machine would share its first cores.
        "ENABLE_CPU_PINNING": False,
        # Left to itself, OpenVINO takes bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == BF16 else "f32",
    }
    return [core.compile_model(network, "CPU", settings) for _ in range(copies)]
