"""The set of engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_job.runtime.registry import Entry, Registry

if TYPE_CHECKING:
    from beam_job.engines.base import Engine

ENGINES: Registry[type[Engine]] = Registry(
    "engine",
    {
        "tensorflow": Entry("beam_job.engines.tensorflow:TensorFlowEngine", "tensorflow", "pip install tensorflow"),
        "openvino": Entry("beam_job.engines.openvino:OpenVinoEngine", "openvino", 'pip install "beam_job[openvino]"'),
    },
)
