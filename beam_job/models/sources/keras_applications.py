"""Keras Applications by name, without their classification top, each with its own family's preprocessing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.suggestions import did_you_mean
from beam_job.core.values import ImageSize
from beam_job.modalities.image.preprocessing import KERAS_CONVENTIONS, RAW, Convention
from beam_job.models.loaders.keras import IMAGENET, RANDOM
from beam_job.models.sources.base import Artefact
from beam_job.models.sources.files import local_file
from beam_job.runtime.versions import library_version

_PREFIX = "keras:"


@dataclasses.dataclass(frozen=True)
class Family:
    """What the members of a module of keras.applications share.

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

    @staticmethod
    def matches(handle: str) -> bool:
        return handle.startswith(_PREFIX)

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        name = options.model.removeprefix(_PREFIX)
        family = APPLICATIONS.get(name)
        if family is None:
            raise ModelError(
                f"Keras Applications has no {name!r}{did_you_mean(name, APPLICATIONS)}. See docs/models.md."
            )
        weights = options.weights or IMAGENET
        content = weights
        if weights not in (IMAGENET, RANDOM):
            path, content = local_file(weights)
            weights = str(path)
        identity = f"{name} {content} keras {library_version('keras')}"
        size = ImageSize(family.size, family.size)
        digest = hashlib.sha256(identity.encode()).hexdigest()
        return Artefact("keras_application", name, digest, size, family.convention, weights)
