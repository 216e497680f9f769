"""Keras Applications by name, without their classification top, each with its own family's preprocessing."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import ImageSize, ModelOptions, nearest
from beam_job.modalities.image.preprocessing import KERAS_CONVENTIONS, RAW, Convention
from beam_job.models.loaders.base import LoadedModel, first_line
from beam_job.models.sources.keras_file import loaded_keras_model
from beam_job.models.sources.saved_model import local_file
from beam_job.models.spec import Artefact
from beam_job.runtime.tensorflow import import_tensorflow

IMAGENET, RANDOM = "imagenet", "none"
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Family:
    """What the members of a module of keras.applications have in common.

    Attributes:
      names: The members.
      convention: What the module's ``preprocess_input`` does; for ``RAW`` it does nothing, the model does it inside.
      size: Side of the image that the members were trained with, in pixels.
    """

    names: tuple[str, ...]
    convention: Convention
    size: int = 224


_CAFFE, _TF, _TORCH = (KERAS_CONVENTIONS[name] for name in ("caffe", "tf", "torch"))
_DENSENET = ("DenseNet121", "DenseNet169", "DenseNet201")
_CONVNEXT = ("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge")
_MOBILENET_V3 = ("MobileNetV3Small", "MobileNetV3Large")
# EfficientNet B0 to B7 and V2 B0 to B3 grow with their index.
_SIZES = {
    **dict(zip((f"EfficientNetB{n}" for n in range(8)), (224, 240, 260, 300, 380, 456, 528, 600), strict=True)),
    **dict(zip((f"EfficientNetV2B{n}" for n in range(4)), (224, 240, 260, 300), strict=True)),
    **dict(zip((f"EfficientNetV2{n}" for n in "SML"), (384, 480, 480), strict=True)),
}
FAMILIES = (
    Family(("VGG16", "VGG19"), _CAFFE),
    Family(("ResNet50", "ResNet101", "ResNet152"), _CAFFE),
    Family(("ResNet50V2", "ResNet101V2", "ResNet152V2"), _TF),
    Family(("MobileNet", "MobileNetV2"), _TF),
    Family(("InceptionV3", "InceptionResNetV2", "Xception"), _TF, 299),
    Family(("NASNetMobile",), _TF),
    Family(("NASNetLarge",), _TF, 331),
    Family(_DENSENET, _TORCH),
    Family((*_MOBILENET_V3, *_CONVNEXT), RAW),
    *(Family((name,), RAW, size) for name, size in _SIZES.items()),
)
APPLICATIONS: Mapping[str, Family] = {name: family for family in FAMILIES for name in family.names}


class KerasApplication:
    """``keras:NAME``, with ``--weights``: ``imagenet``, ``none`` or a file."""

    def fetch(self, options: ModelOptions) -> Artefact:
        name = options.model.partition(":")[2]
        family = APPLICATIONS.get(name)
        if family is None:
            raise ModelError(f"Keras Applications has no {name!r}{nearest(name, APPLICATIONS)}. See docs/models.md.")
        weights = options.weights or IMAGENET
        content = weights
        if weights not in (IMAGENET, RANDOM):
            path, content = local_file(weights)
            weights = str(path)
        identity = f"{name} {content} keras {importlib.metadata.version('keras')}"
        size = ImageSize(family.size, family.size)
        digest = hashlib.sha256(identity.encode()).hexdigest()
        return Artefact("keras_application", name, digest, size, family.convention, weights)


def load_application(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """The architecture called ``path``, built for images of ``size``, with ``weights``."""
    import_tensorflow()
    import keras

    assert size is not None, "every application has a size of its own"
    keras.utils.set_random_seed(_SEED)
    build: Any = getattr(keras.applications, path)
    try:
        model = build(
            include_top=False, weights=None if weights == RANDOM else weights, input_shape=(size.height, size.width, 3)
        )
    except Exception as error:  # Keras raises what its layers, h5py and urllib raise
        words = first_line(error)
        if weights == IMAGENET:
            raise ModelError(
                f"The ImageNet weights of {path} cannot be had ({words}). Download them by hand (the file that ends "
                f"with notop.h5, see keras.io/api/applications) and give it as --weights, or --weights=none for random "
                f"ones."
            ) from None
        raise ModelError(f"{path} cannot be built at {size} pixels with --weights={weights}: {words}") from None
    return loaded_keras_model(model)
