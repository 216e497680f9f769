"""Cuts a recording into windows of one length."""

from __future__ import annotations

import numpy as np

from beam_job.core.records import Float32Array


def windows_of(samples: Float32Array, length: int, hop: int) -> Float32Array:
    """The windows of a recording, as many as it takes to reach its end; zeros fill up the last one.

    Args:
      samples: float32 [N], N at least 1.
      length: Samples of a window.
      hop: Samples from the start of one window to that of the next.

    Returns:
      float32 [windows, length], at least one; views of one array where windows overlap.

    >>> windows_of(np.arange(1, 6, dtype=np.float32), 3, 2).tolist()
    [[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]
    >>> windows_of(np.arange(1, 6, dtype=np.float32), 4, 4).tolist()
    [[1.0, 2.0, 3.0, 4.0], [5.0, 0.0, 0.0, 0.0]]
    """
    count = 1 + max(0, -(-(len(samples) - length) // hop))
    missing = max(0, (count - 1) * hop + length - len(samples))
    filled = np.pad(samples, (0, missing)) if missing else samples
    return np.lib.stride_tricks.sliding_window_view(filled, length)[: (count - 1) * hop + 1 : hop]
