"""TF Hub handles: fetched, unpacked and cached by tensorflow_hub itself."""

from __future__ import annotations

import urllib.error
from pathlib import Path

from beam_job import storage
from beam_job.errors import ModelError
from beam_job.models.base import LocalModel
from beam_job.options import ValueRange

# "The inputs are expected to have 3-channel RGB color values in the range [0, 1], following the common image input
# conventions" (TF Hub documentation, Common Signatures for Images).
_RANGE = ValueRange(0.0, 1.0)


class HubModel:
    """``https://...``: cached in ``$TFHUB_CACHE_DIR``."""

    def fetch(self, handle: str) -> LocalModel:
        import tensorflow_hub

        try:
            path = tensorflow_hub.resolve(handle)
        except (OSError, RuntimeError, ValueError, urllib.error.URLError) as error:
            raise ModelError(
                f"The model at {handle} cannot be fetched ({error}). Without a network, download the model by hand, "
                f"unpack it, and give the directory as --model with --input_range=0,1."
            ) from None
        return LocalModel(Path(path), storage.directory_digest(path), input_range=_RANGE)
