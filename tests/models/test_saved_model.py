import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ImageSize, LayerChoice, TagSet, ValueRange
from beam_job.models.spec import describe_model, frozen_model
from beam_job.runtime import storage
from tests.support.bucket import Bucket
from tests.support.models import features
from tests.support.small_models import save_reusable, save_signatures, save_token_model

pytestmark = pytest.mark.usefixtures("in_this_process")
RANGE = ValueRange(0, 1)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).random((4, 32, 32, 3), np.float32)


def test_a_reusable_model_is_called_in_inference_mode(tmp_path: Path, pixels: np.ndarray) -> None:
    options = ModelOptions(model=str(save_reusable(tmp_path / "model")), input_range=RANGE)
    assert describe_model(options).modality.input.size == ImageSize(32, 32)
    np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)


def test_a_model_with_a_signature_only(tmp_path: Path, pixels: np.ndarray) -> None:
    options = ModelOptions(model=str(save_signatures(tmp_path / "model")), input_range=RANGE)
    np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)


def test_an_output_is_chosen_by_name(tmp_path: Path, pixels: np.ndarray) -> None:
    path = str(save_signatures(tmp_path / "model", outputs=2))
    options = ModelOptions(model=path, input_range=RANGE, layer=(LayerChoice("largest"),))
    np.testing.assert_array_equal(features(options, pixels)["feature"], pixels.max((1, 2)))


def test_integer_pixels_are_rounded_not_truncated(tmp_path: Path) -> None:
    options = ModelOptions(
        model=str(save_signatures(tmp_path / "model", dtype=tf.uint8)), input_range=ValueRange(0, 255)
    )
    np.testing.assert_array_equal(
        features(options, np.full((1, 32, 32, 3), 99.7, np.float32))["feature"], [[100, 100, 100]]
    )


def test_the_frozen_graph_has_no_variables_and_the_model_is_not_modified(tmp_path: Path) -> None:
    path = save_reusable(tmp_path / "model")
    before = storage.directory_digest(str(path))
    frozen = frozen_model(describe_model(ModelOptions(model=str(path), input_range=RANGE)))
    graph = tf.compat.v1.GraphDef.FromString(frozen.graph.read_bytes())
    operations = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    assert not operations & {"VarHandleOp", "ReadVariableOp", "VariableV2"}
    assert storage.directory_digest(str(path)) == before


def test_a_model_in_a_bucket_is_copied_once(
    bucket: Bucket, tmp_path: Path, model_cache: Path, pixels: np.ndarray
) -> None:
    path = save_reusable(tmp_path / "model")
    for info in storage.list_files(str(path)):
        bucket.write(f"{tmp_path.name}/model/{storage.relative(info.path, str(path))}", Path(info.path).read_bytes())
    options = ModelOptions(model=bucket.url(f"{tmp_path.name}/model"), input_range=RANGE)
    before = set(model_cache.glob("copied/*"))
    np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)
    (copy,) = {path for path in set(model_cache.glob("copied/*")) - before if path.is_dir()}
    modified = (copy / "saved_model.pb").stat().st_mtime_ns
    assert describe_model(options).digest == describe_model(ModelOptions(model=str(path), input_range=RANGE)).digest
    assert (copy / "saved_model.pb").stat().st_mtime_ns == modified


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "does not declare the range of its pixels; give --input_range=0,1"),
        ({"input_range": RANGE, "layer": (LayerChoice("nothing"),)}, "has no layer, output or tensor 'nothing'"),
        (
            {"input_range": RANGE, "image_size": ImageSize(33, 33)},
            "takes images of 32x32 pixels, found --image_size=33x33",
        ),
    ],
    ids=str,
)
def test_missing_and_wrong_options_are_reported_in_one_sentence(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    path = str(save_signatures(tmp_path / "model"))
    with pytest.raises(ModelError) as caught:
        frozen_model(describe_model(ModelOptions(model=path, **options)))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_fixed_size_needs_image_size(tmp_path: Path, pixels: np.ndarray) -> None:
    path = str(save_signatures(tmp_path / "model", size=None))
    with pytest.raises(ModelError, match="images of any size; give the size to use it with"):
        describe_model(ModelOptions(model=path, input_range=RANGE))
    options = ModelOptions(model=path, input_range=RANGE, image_size=ImageSize(32, 32))
    np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)


def test_a_model_with_several_outputs_needs_layer(tmp_path: Path) -> None:
    options = ModelOptions(model=str(save_signatures(tmp_path / "model", outputs=2)), input_range=RANGE)
    with pytest.raises(ModelError, match="several outputs; choose with --layer: largest, means"):
        frozen_model(describe_model(options))


def test_the_only_output_of_another_signature_is_no_default(tmp_path: Path) -> None:
    module, spec = tf.Module(), tf.TensorSpec([None, 32, 32, 3], tf.float32, "images")
    both = tf.function(lambda images: {"a": images[:, 0, 0], "b": images[:, 1, 1]}, input_signature=[spec])
    one = tf.function(lambda images: {"c": images[:, 2, 2]}, input_signature=[spec])
    signatures = {"serving_default": both, "other": one}
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signatures)
    options = ModelOptions(model=str(tmp_path / "model"), input_range=RANGE)
    with pytest.raises(ModelError, match="several outputs; choose with --layer: a, b, c"):
        describe_model(options)


def test_a_model_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Expected a model of .*images .*found a text model"):
        describe_model(ModelOptions(model=str(save_token_model(tmp_path / "model")), input_range=RANGE))


def test_a_path_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/saved_model.pb").write_bytes(b"\xff\xff")
    for name, message in {
        "nothing": "Expected --model to be efficientnet-lite0",
        "empty": "Expected a SavedModel with a file saved_model.pb",
        "damaged": "cannot be loaded",
    }.items():
        with pytest.raises(ModelError, match=message):
            describe_model(ModelOptions(model=str(tmp_path / name), input_range=RANGE))
    with pytest.raises(ModelError, match="did you mean 'efficientnet-lite0'"):
        describe_model(ModelOptions(model="eficientnet-lite0"))


def test_a_model_that_changes_during_a_run_is_refused(tmp_path: Path) -> None:
    path = save_reusable(tmp_path / "model")
    spec = describe_model(ModelOptions(model=str(path), input_range=RANGE))
    (path / "fingerprint.pb").write_bytes(b"other")
    with pytest.raises(ModelError, match="has changed since the run started"):
        frozen_model(spec)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"signature": "serve"}, "has no signature 'serve'. It has serving_default."),
        ({"tags": TagSet(("train",))}, "has no graph with the tags train; choose with --tags: serve."),
        ({"trust_model_code": True}, "--trust_model_code goes with a .keras or .h5 file, found --model="),
        ({"weights": "none"}, "--weights goes with --model=keras:NAME"),
    ],
    ids=str,
)
def test_flags_that_do_not_go_with_the_model(tmp_path: Path, options: dict[str, object], words: str) -> None:
    path = str(save_signatures(tmp_path / "model"))
    with pytest.raises(ModelError) as caught:
        describe_model(ModelOptions(model=path, input_range=RANGE, **options))  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_the_signature_is_part_of_the_identity(tmp_path: Path) -> None:
    path = str(save_signatures(tmp_path / "model"))
    plain = ModelOptions(model=path, input_range=RANGE)
    named = dataclasses.replace(plain, signature="serving_default")
    assert describe_model(plain).identity() != describe_model(named).identity()


def test_the_highest_version_of_a_serving_directory_is_taken_and_told(
    bucket: Bucket, tmp_path: Path, pixels: np.ndarray
) -> None:
    save_token_model(tmp_path / "model/9")
    path = save_reusable(tmp_path / "model/10")
    for info in storage.list_files(str(tmp_path / "model")):
        name = f"{tmp_path.name}/{storage.relative(info.path, str(tmp_path))}"
        bucket.write(name, Path(info.path).read_bytes())
    for handle in (str(tmp_path / "model"), bucket.url(f"{tmp_path.name}/model")):
        options = ModelOptions(model=handle, input_range=RANGE)
        spec = describe_model(options)
        assert spec.notes == (f"10 is the highest version in {handle}",)
        assert spec.digest == storage.directory_digest(str(path))
        np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)
