"""Keras files and Keras Applications, against Keras itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize, LayerChoice, ValueRange
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import load_engine
from beam_job.models.frozen import freeze_artefact, list_names
from beam_job.models.sources.keras_applications import APPLICATIONS
from beam_job.models.sources.selection import fetch_model
from beam_job.models.spec import describe_model
from tests.support.images import photograph
from tests.support.models import features as model_features
from tests.support.zoo import keras_models
from tests.support.zoo.own_classes import Chain, Scale

pytestmark = pytest.mark.usefixtures("in_this_process")

# One member of each family, at a small size to be quick: the module that has its preprocess_input, and the size.
FAMILIES = {
    "VGG16": ("vgg16", 64),
    "ResNet50": ("resnet", 64),
    "ResNet50V2": ("resnet_v2", 64),
    "MobileNetV2": ("mobilenet_v2", 96),
    "InceptionV3": ("inception_v3", 96),
    "Xception": ("xception", 96),
    "DenseNet121": ("densenet", 64),
    "EfficientNetB0": ("efficientnet", 64),
    "MobileNetV3Small": ("mobilenet_v3", 96),
    "ConvNeXtTiny": ("convnext", 64),
}
# One family per convention of preprocess_input: BGR less a mean, -1 to 1, ImageNet's mean and deviation, and 0 to 255.
LIGHT = {"VGG16", "MobileNetV2", "DenseNet121", "MobileNetV3Small"}


def module_of(name: str) -> Any:
    """The module of keras.applications that an application is defined in."""
    return importlib.import_module(getattr(keras.applications, name).__module__)


def features(options: ModelOptions, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Features of images in [0, 255] of the right size, through our preprocessing, freezing and engine."""
    spec = describe_model(options)
    scaled = np.stack([spec.modality.input.convention.scale(image.astype(np.float32)) for image in pixels])
    return dict(load_engine(EngineChoice(batch_size=len(pixels)), spec, 1).run(scaled))


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in LIGHT else pytest.mark.heavy) for name in FAMILIES]
)
def test_features_equal_preprocess_input_and_predict(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, side = FAMILIES[name]
    pixels = np.stack([photograph(side, side, seed) for seed in range(2)])
    keras.utils.set_random_seed(0)
    direct = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(side, side, 3))
    prepared = getattr(keras.applications, module).preprocess_input(pixels.astype(np.float32))
    expected = direct.predict(prepared, verbose=0)
    found = features(ModelOptions(model=f"keras:{name}", weights="none", image_size=ImageSize(side, side)), pixels)
    difference = relative_difference(found["feature"], expected)
    with capsys.disabled():
        print(
            f"\n  {name:18} {side:4} pixels  {expected.shape[1:]!s:16} largest relative difference {difference:.1e}",
            end="",
        )
    assert difference < 1e-4


@pytest.mark.parametrize("name", APPLICATIONS)
def test_numbers_are_exactly_those_of_preprocess_input(name: str) -> None:
    convention = APPLICATIONS[name].convention
    pixels = photograph(7, 5).astype(np.float32)
    expected = module_of(name).preprocess_input(pixels.copy())
    found = convention.scale(pixels.copy())
    np.testing.assert_array_equal(found, expected)


def test_every_application_is_known() -> None:
    public = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(APPLICATIONS) == public


@pytest.mark.parametrize(("side", "shape"), [(224, (7, 7, 1280)), (160, (5, 5, 1280))])
def test_the_classical_mobilenet(side: int, shape: tuple[int, ...]) -> None:
    options = ModelOptions(
        model="keras:MobileNetV2",
        weights="none",
        image_size=ImageSize(side, side),
        layer=(LayerChoice("out_relu"), LayerChoice("default", "avg")),
    )
    assert describe_model(options).outputs == {"feature/out_relu": shape, "feature/default": (1280,)}
    assert freeze_artefact(fetch_model(options), options).parameters == 2_257_984


def test_a_size_of_its_own_is_the_default() -> None:
    expected = describe_model(ModelOptions(model="keras:MobileNetV2", weights="none")).modality.input
    assert expected.size == ImageSize(224, 224)
    assert expected.convention.input_range == ValueRange(-1, 1)
    assert (APPLICATIONS["InceptionV3"].size, APPLICATIONS["NASNetLarge"].size) == (299, 331)


def test_weights_from_a_file(tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    direct = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3))
    direct.save_weights(tmp_path / "notop.weights.h5")
    pixels = photograph(96, 96)[np.newaxis]
    size = ImageSize(96, 96)
    options = ModelOptions(model="keras:MobileNetV2", weights=str(tmp_path / "notop.weights.h5"), image_size=size)
    expected = direct.predict(keras.applications.mobilenet_v2.preprocess_input(pixels.astype(np.float32)), verbose=0)
    assert relative_difference(features(options, pixels)["feature"], expected) < 1e-4
    other = ModelOptions(model="keras:MobileNetV2", weights="none", image_size=size)
    assert fetch_model(options).digest != fetch_model(other).digest


def trained_model() -> keras.Model:
    """A model whose training and inference differ in every way that they can."""
    images = keras.Input((32, 32, 3), name="images")
    x = keras.layers.RandomFlip("horizontal")(images)
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="convolution")(x)
    x = keras.layers.BatchNormalization(name="normalisation")(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.ReLU(name="map")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    model = keras.Model(images, keras.layers.Dense(4, name="top")(pooled))
    random = np.random.default_rng(0)
    statistics = [random.uniform(0.5, 2, 8), random.normal(2, 1, 8), random.normal(size=8), random.uniform(0.5, 2, 8)]
    model.get_layer("normalisation").set_weights(statistics)
    return model


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("keras") / "trained.keras"
    trained_model().save(path)
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_of_a_model(keras_file: Path, tmp_path: Path, suffix: str) -> None:
    model = keras.saving.load_model(keras_file)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    pixels = np.stack([photograph(32, 32, seed) for seed in range(3)])
    options = ModelOptions(model=str(path), input_range=ValueRange(0, 255))
    expected = model.predict(pixels.astype(np.float32), verbose=0)
    assert relative_difference(features(options, pixels)["feature"], expected) < 1e-4


def test_layers_by_name_in_one_pass(keras_file: Path) -> None:
    model = keras.saving.load_model(keras_file)
    pixels = np.stack([photograph(32, 32, seed) for seed in range(3)])
    layers = ("map", "map:max", "convolution:avg", "pooled", "convolution:flatten")
    options = ModelOptions(
        model=str(keras_file), input_range=ValueRange(0, 255), layer=tuple(map(LayerChoice.parse, layers))
    )
    found = features(options, pixels)
    whole = keras.Model(model.inputs, [model.get_layer(name).output for name in ("map", "convolution", "pooled")])
    maps, convolution, pooled = (array.numpy() for array in whole(pixels.astype(np.float32), training=False))
    expected = {
        "feature/map_none": maps,
        "feature/map_max": maps.max((1, 2)),
        "feature/convolution_avg": convolution.mean((1, 2)),
        "feature/convolution_flatten": convolution.reshape(3, -1),
        "feature/pooled": pooled,
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_frozen_means_frozen(keras_file: Path) -> None:
    """Whatever else is in the batch changes nothing, and neither does the job change the model."""
    before = keras_file.read_bytes()
    pixels = np.stack([photograph(32, 32, seed) for seed in range(4)])
    options = ModelOptions(model=str(keras_file), input_range=ValueRange(0, 255))
    together = features(options, pixels)["feature"]
    others = features(options, np.stack([pixels[0], *np.zeros((3, 32, 32, 3), np.uint8)]))["feature"]
    np.testing.assert_array_equal(together[0], others[0])
    np.testing.assert_array_equal(together, features(options, pixels)["feature"])
    assert keras_file.read_bytes() == before


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, keras.Model]:
    """What ``model.export`` writes, and the model; without augmentation (see the test of training mode)."""
    model = trained_model()
    path = tmp_path_factory.mktemp("exported") / "model"
    plain = keras.Sequential([keras.Input((32, 32, 3)), *model.layers[2:]])
    plain.export(path, verbose=False)
    return path, plain


def test_an_exported_model_which_cannot_be_called(exported: tuple[Path, keras.Model]) -> None:
    path, model = exported
    assert not callable(tf.saved_model.load(str(path)))
    pixels = np.stack([photograph(32, 32, seed) for seed in range(2)])
    expected = model.predict(pixels.astype(np.float32), verbose=0)
    found = features(ModelOptions(model=str(path), input_range=ValueRange(0, 255)), pixels)
    assert relative_difference(found["feature"], expected) < 1e-4


def test_a_tensor_of_a_saved_model_by_its_name_in_the_graph(exported: tuple[Path, keras.Model]) -> None:
    path, model = exported
    plain = ModelOptions(model=str(path))
    tensors = list_names(fetch_model(plain), plain).tensors
    (name,) = [name for name, shape in tensors.items() if shape == (32, 32, 8) and name.lower().endswith("relu")]
    pixels = np.stack([photograph(32, 32, seed) for seed in range(2)])
    options = ModelOptions(model=str(path), input_range=ValueRange(0, 255), layer=(LayerChoice(name, "avg"),))
    values = tf.constant(pixels, tf.float32)
    for layer in model.layers[:-1]:  # all but the top
        values = layer(values, training=False)
    expected = values.numpy()
    np.testing.assert_allclose(features(options, pixels)["feature"], expected, atol=1e-5)


def test_a_model_exported_in_training_mode_is_refused(keras_file: Path, tmp_path: Path) -> None:
    """Keras exports a model that begins with RandomFlip with every layer in training mode, without a word."""
    model = keras.saving.load_model(keras_file)
    model.export(tmp_path / "exported", verbose=False)
    pixels = np.stack([photograph(32, 32, seed) for seed in range(2)]).astype(np.float32)
    direct = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"](tf.constant(pixels))
    assert relative_difference(direct["output_0"].numpy(), model.predict(pixels, verbose=0)) > 0.1
    with pytest.raises(ModelError, match="exported in training mode"):
        describe_model(ModelOptions(model=str(tmp_path / "exported"), input_range=ValueRange(0, 255)))


def test_a_model_that_normalises_by_the_batch_is_refused(tmp_path: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3])])
    def serve(images: Any) -> Any:
        ones, zeros = tf.ones([3]), tf.zeros([3])
        normalised, _, _ = tf.compat.v1.nn.fused_batch_norm(images, ones, zeros, is_training=True)
        return {"feature": tf.reduce_max(normalised, [1, 2])}

    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    with pytest.raises(ModelError, match="the model normalises by the batch"):
        describe_model(ModelOptions(model=str(tmp_path / "model"), input_range=ValueRange(0, 1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "keras:MobilNetV2"}, "no 'MobilNetV2'; did you mean 'MobileNetV2'?"),
        ({"model": "keras:MobileNetV2", "weights": "/no/where.h5"}, "There is no file at /no/where.h5."),
        ({"model": "keras:MobileNetV2", "weights": "none", "preprocess": "caffe"}, "takes pixels in -1,1 (RGB)"),
        ({"model": "keras:VGG16", "weights": "none", "image_size": ImageSize(8, 8)}, "cannot be built at 8x8 pixels"),
        ({"weights": "none"}, "--weights goes with --model=keras:NAME"),
        ({"model": "/no/where.keras"}, "There is no file at /no/where.keras."),
    ],
    ids=str,
)
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        describe_model(ModelOptions(**options))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layer", ["mapp", "map:0:mean", "top:avg"])
def test_a_layer_that_cannot_be(keras_file: Path, layer: str) -> None:
    with pytest.raises((ModelError, ValueError)) as caught:
        describe_model(
            ModelOptions(model=str(keras_file), input_range=ValueRange(0, 255), layer=(LayerChoice.parse(layer),))
        )
    expected = {
        "mapp": "has no layer, output or tensor 'mapp'; the nearest: map",
        "map:0:mean": "POOL is one of avg, max, flatten, none",
        "top:avg": "or a sequence [positions, features], and 'top' has the shape (4,)",
    }
    assert expected[layer] in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_keras_file_runs_only_where_it_is_trusted(tmp_path: Path, suffix: str) -> None:
    mark, path = tmp_path / "it_ran", tmp_path / f"model{suffix}"
    leave_mark = eval(f"lambda x: [__import__('pathlib').Path({str(mark)!r}).touch(), x * 2][1]")
    code = keras.layers.Lambda(leave_mark, name="l")
    images = keras.Input((32, 32, 3))
    keras.Model(images, keras.layers.GlobalAveragePooling2D()(code(images))).save(path)
    mark.unlink()
    options = ModelOptions(model=str(path), input_range=ValueRange(0, 1))
    with pytest.raises(ModelError, match=r"holds Python code, in l \(Lambda\).*if you trust the file, give --trust"):
        describe_model(options)
    assert not mark.exists()
    trusted = dataclasses.replace(options, trust_model_code=True)
    pixels = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_allclose(model_features(trusted, pixels)["feature"], pixels.mean((1, 2)) * 2, rtol=1e-5)
    assert mark.exists()


def test_a_damaged_file(keras_file: Path, tmp_path: Path) -> None:
    whole = keras_file.read_bytes()
    for name, content in {"a.keras": b"x", "b.h5": b"x", "c.keras": whole[:500], "d.h5": b"\x89HDF" + whole}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged or cut short|which begins with") as caught:
            describe_model(ModelOptions(model=str(tmp_path / name), input_range=ValueRange(0, 1)))
        assert "\n" not in str(caught.value)


def test_a_model_with_two_inputs_is_refused(tmp_path: Path) -> None:
    one, two = keras.Input((32, 32, 3), name="left"), keras.Input((32, 32, 3), name="right")
    keras.Model([one, two], keras.layers.Add()([one, two])).save(tmp_path / "two.keras")
    with pytest.raises(ModelError, match="Expected a model with one input, found left, right"):
        describe_model(ModelOptions(model=str(tmp_path / "two.keras"), input_range=ValueRange(0, 1)))


def test_a_keras_file_is_what_it_says(keras_file: Path) -> None:
    with zipfile.ZipFile(keras_file) as archive:
        assert json.loads(archive.read("metadata.json"))["keras_version"] == keras.__version__


def features_in(cache: Path, environment: dict[str, str]) -> np.ndarray:
    """Features of a random MobileNetV2, which is frozen in a process with these variables."""
    code = (
        "import sys, numpy\n"
        "from beam_job.core.options import ModelOptions\n"
        "from beam_job.core.values import ImageSize, LayerChoice\n"
        "from beam_job.engines.base import EngineChoice\n"
        "from beam_job.engines.selection import load_engine\n"
        "from beam_job.models.spec import describe_model\n"
        "options = ModelOptions(model='keras:MobileNetV2', weights='none', image_size=ImageSize(32, 32),\n"
        "                       layer=(LayerChoice('default', 'avg'),))\n"
        "pixels = numpy.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(numpy.float32)\n"
        "features = load_engine(EngineChoice(), describe_model(options), 1).run(pixels)\n"
        "numpy.save(sys.argv[1], features['feature'])\n"
    )
    variables = {**os.environ, "BEAM_JOB_CACHE": str(cache), **environment}
    command = [sys.executable, "-c", code, f"{cache}.npy"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(f"{cache}.npy")


def test_settings_of_keras_in_the_users_home_say_nothing_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    settings = {"floatx": "float16", "image_data_format": "channels_first", "backend": "torch", "epsilon": 0.1}
    (tmp_path / "home/keras.json").write_text(json.dumps(settings))
    odd = {"KERAS_HOME": str(tmp_path / "home"), "KERAS_BACKEND": "jax"}
    np.testing.assert_array_equal(features_in(tmp_path / "one", odd), features_in(tmp_path / "two", {}))


def layers_of_a_network() -> list[keras.layers.Layer]:
    layers = keras.layers
    return [
        layers.Conv2D(6, 3, name="stem"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.GlobalAveragePooling2D(name="pooled"),
        layers.Dense(4, name="head"),
    ]


def as_functional(layers: list[keras.layers.Layer]) -> keras.Model:
    images = x = keras.Input((32, 32, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(images, x, name="network")


def as_nested(layers: list[keras.layers.Layer]) -> keras.Model:
    """Two models around it."""
    model = as_functional(layers)
    for name in ("inner", "outer"):
        images = keras.Input((32, 32, 3))
        model = keras.Model(images, model(images), name=name)
    return model


FORMS_OF_A_NETWORK = {
    "functional": (as_functional, ""),
    "sequential": (lambda layers: keras.Sequential([keras.Input((32, 32, 3)), *layers]), ""),
    "own class": (Chain.of, ""),
    "nested": (as_nested, "inner/network/"),
}


@pytest.mark.parametrize("form", FORMS_OF_A_NETWORK)
def test_a_layer_is_the_same_in_every_form_of_a_network(form: str, tmp_path: Path) -> None:
    """By its name, for every layer: each with the weights of the first form, and with what Keras itself computes."""
    keras.utils.set_random_seed(3)
    layers = layers_of_a_network()
    reference = as_functional(layers)
    build, prefix = FORMS_OF_A_NETWORK[form]
    model = build(layers_of_a_network())
    model(np.zeros((1, 32, 32, 3), np.float32))
    model.set_weights(reference.get_weights())
    model.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    names = [layer.name for layer in layers]
    options = ModelOptions(
        model=str(tmp_path / "model.keras"),
        input_range=ValueRange(0, 1),
        layer=tuple(LayerChoice(f"{prefix}{name}") for name in names),
        trust_model_code=True,
    )
    found = list(model_features(options, pixels).values())
    expected = keras.Model(reference.inputs, [layer.output for layer in layers])(pixels, training=False)
    for name, one, two in zip(names, found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6, err_msg=name)


def test_a_file_of_keras_2_without_keras_2_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, changed, simple = tmp_path / "model.h5", tmp_path / "changed.h5", tmp_path / "simple.h5"
    keras_models.written_2(keras_models.operators_2)(path)
    keras_models.written_2(keras_models.changed_2)(changed)
    direct = keras_models.written_2(keras_models.functional_2)(simple)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf_keras" else find(name))
    with pytest.raises(ModelError) as caught:
        describe_model(ModelOptions(model=str(path), input_range=ValueRange(0, 255)))
    words = str(caught.value)
    assert "was made with Keras 2." in words
    assert "Keras 3 cannot read it (Unknown layer: 'TFOpLambda'" in words
    assert 'pip install "beam_job[keras2]"' in words
    assert "tf_keras.models.load_model(FILE).export(DIR)" in words
    assert "\n" not in words
    with pytest.raises(ModelError, match=r"Keras 3 cannot read it \(hard_sigmoid means something else there\)"):
        describe_model(ModelOptions(model=str(changed), input_range=ValueRange(0, 1)))
    pixels = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    found = model_features(ModelOptions(model=str(simple), input_range=ValueRange(0, 1)), pixels)["feature"]
    np.testing.assert_allclose(found, direct(pixels), rtol=1e-4, atol=1e-5)


def test_a_class_whose_module_is_missing_is_named(tmp_path: Path) -> None:
    images = keras.Input((32, 32, 3))
    keras.Model(images, Scale(name="own")(images)).save(tmp_path / "model.keras")
    content = tmp_path / "other.keras"
    with zipfile.ZipFile(tmp_path / "model.keras") as whole, zipfile.ZipFile(content, "w") as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name).replace(b"tests.support.zoo.own_classes", b"no_such_package"))
    options = ModelOptions(model=str(content), input_range=ValueRange(0, 1), trust_model_code=True)
    with pytest.raises(ModelError, match=r"needs the class beam_job_tests>Scale, defined in the module 'no_such_pack"):
        describe_model(options)
