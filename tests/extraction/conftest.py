"""What tests of the work share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from beam_job.core.records import Float32Array
from beam_job.engines.openvino import OpenVinoEngine


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The sizes of the batches that the engine receives, without the gray image of the probe."""
    sizes: list[int] = []
    original = OpenVinoEngine.run

    def run(engine: OpenVinoEngine, pixels: Float32Array) -> Any:
        if np.ptp(pixels):
            sizes.append(len(pixels))
        return original(engine, pixels)

    monkeypatch.setattr(OpenVinoEngine, "run", run)
    yield sizes
