"""The embedded models: what they are made of, and their export, once per machine."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize
from beam_job.modalities.image.preprocessing import UNIT, Convention
from beam_job.models.embedded import efficientnet_lite, log_mel, minilm
from beam_job.models.sources.base import Artefact
from beam_job.runtime.cache import cached_directory
from beam_job.runtime.isolation import run_isolated

# Increases whenever an export makes a different function of the same weights.
_EXPORT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Embedded:
    """An embedded model.

    Attributes:
      module: The module whose function ``export`` writes it from its weights.
      weights: Finds the files that it is made of, without loading them.
      size: Height and width of its images, or None.
      convention: How images become numbers, or None.
    """

    module: str
    weights: Callable[[], list[Path]]
    size: ImageSize | None = None
    convention: Convention | None = None


EMBEDDED: Mapping[str, Embedded] = {
    **{
        name: Embedded(
            efficientnet_lite.__name__,
            functools.partial(efficientnet_lite.weight_files, name),
            ImageSize(variant.size, variant.size),
            UNIT,
        )
        for name, variant in efficientnet_lite.VARIANTS.items()
    },
    minilm.NAME: Embedded(minilm.__name__, minilm.weight_files),
    log_mel.NAME: Embedded(log_mel.__name__, list),
}


class BuiltinModel:
    """The name of an embedded model, such as ``efficientnet-lite0``."""

    @staticmethod
    def matches(handle: str) -> bool:
        return handle in EMBEDDED

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        handle, embedded = options.model, EMBEDDED[options.model]
        files = embedded.weights()
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        digest = hashlib.sha256(json.dumps([handle, _EXPORT_VERSION, *contents]).encode()).hexdigest()

        def make(folder: Path) -> None:
            weights = [str(path) for path in files]
            run_isolated(f"{embedded.module}:export", handle=handle, weights=weights, folder=str(folder))

        path = cached_directory("builtin", f"{handle}-{digest[:16]}", make)
        return Artefact("saved_model", str(path), digest, embedded.size, embedded.convention)
