"""OpenVINO, which reads the frozen graph as it is; a process that runs it never imports TensorFlow."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino

from beam_job.engines.base import BF16, padded
from beam_job.errors import ModelError
from beam_job.models import FrozenModel
from beam_job.records import Float32Array


class OpenVinoEngine:
    """Runs the frozen graph on the processor, one stream of one thread for each thread that calls."""

    def __init__(self, model: FrozenModel, batch_size: int, streams: int, precision: str) -> None:
        core = openvino.Core()
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            # Left to itself, OpenVINO takes bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == BF16 else "f32",
        }
        try:
            network = core.read_model(model.graph)
            network.reshape([batch_size, model.size.height, model.size.width, 3])
            compiled = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            words = " ".join(str(error).split())
            raise ModelError(f"OpenVINO cannot run the model ({words[:300]}); use --engine=tensorflow.") from None
        self._batch_size = batch_size
        self._outputs = {name: compiled.output(tensor) for name, tensor in model.outputs.items()}
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        black = np.zeros((batch_size, model.size.height, model.size.width, 3), np.float32)
        for _ in range(streams):
            request = compiled.create_infer_request()
            # The first inference of a process must not happen in two threads at once, which can hang for good.
            request.infer([black])
            self._requests.put(request)

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        count = len(pixels)
        request = self._requests.get()
        try:
            answer = request.infer([padded(pixels, self._batch_size)], share_inputs=True)
            # Copied, since the request's own arrays are written to by the next batch.
            return {name: np.array(answer[output][:count], np.float32) for name, output in self._outputs.items()}
        finally:
            self._requests.put(request)
