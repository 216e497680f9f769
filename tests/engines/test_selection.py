import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.records import Float32Array
from beam_job.core.values import ValueRange
from beam_job.engines import selection
from beam_job.engines.base import EngineChoice
from beam_job.engines.comparison import Verdict, compare_engines, cosine, distance
from beam_job.engines.registry import ENGINES
from beam_job.engines.selection import _choice, choose_engine, load_engine
from beam_job.engines.tensorflow import TensorFlowEngine
from beam_job.modalities.base import Batch
from beam_job.models.spec import ModelSpec, describe_model
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.registry import Entry
from tests.support.small_models import save_reusable


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> ModelSpec:
    path = save_reusable(tmp_path_factory.mktemp("means") / "model")
    return describe_model(ModelOptions(model=str(path), input_range=ValueRange(0, 1)))


def images() -> list[Float32Array]:
    return list(np.random.default_rng(0).random((3, 32, 32, 3), np.float32))


def never() -> Sequence[Float32Array]:
    raise AssertionError("the engines were compared again")


def test_engines_are_compared_once_and_the_result_is_cached(spec: ModelSpec) -> None:
    first = choose_engine(spec, "auto", "fp32", None, images)
    assert set(first.milliseconds) == {"tensorflow", "openvino"}
    assert first.reason.startswith("the fastest of tensorflow, openvino")
    assert choose_engine(spec, "auto", "fp32", None, never) == first


def test_a_requested_engine_is_compared_too(spec: ModelSpec) -> None:
    choice = choose_engine(spec, "openvino", "fp32", None, images)
    assert (choice.name, choice.reason) == ("openvino", "requested")
    assert choice.parity is not None
    assert choice.parity["min_cosine"] >= 0.9999
    assert choice.parity["examples"] == 3


def test_tensorflow_is_tried_too_and_is_its_own_reference(spec: ModelSpec) -> None:
    choice = choose_engine(spec, "tensorflow", "fp32", 4, images)
    assert (choice.name, choice.batch_size, choice.reason, choice.parity) == ("tensorflow", 4, "requested", None)


def test_without_an_image_tensorflow_is_chosen(tmp_path: Path) -> None:
    path = save_reusable(tmp_path / "model", size=16)
    spec = describe_model(ModelOptions(model=str(path), input_range=ValueRange(0, 1)))
    assert choose_engine(spec, "auto", "fp32", None, list).name == "tensorflow"
    named = choose_engine(spec, "openvino", "fp32", None, list)
    assert (named.name, named.parity) == ("openvino", None)
    assert named.reason == "requested; not compared: no usable example at the start of the input"


def measurements(cosine: float, milliseconds: float, largest: float = 0.011) -> dict[str, Any]:
    distances = {"max_relative_distance": largest, "mean_relative_distance": 0.01}
    return {"examples": 8, "min_cosine": cosine, **distances, "milliseconds": milliseconds}


def choice_of(engines: Mapping[str, Mapping[str, Any]], *arguments: str) -> EngineChoice:
    return _choice(Verdict(8, alone=False, alike=False, engines=engines), *arguments)


def test_the_fastest_engine_that_agrees_is_chosen() -> None:
    choice = choice_of({"tensorflow": measurements(1.0, 5.0), "openvino": measurements(0.99995, 3.0)}, "auto", "fp32")
    assert (choice.name, choice.reason) == ("openvino", "the fastest of tensorflow, openvino")


def test_a_resumed_run_keeps_its_engine_if_it_agrees() -> None:
    comparison = {"tensorflow": measurements(1.0, 5.0), "openvino": measurements(0.99995, 3.0)}
    assert choice_of(comparison, "auto", "fp32", "tensorflow").name == "tensorflow"
    comparison["tensorflow"] = {"error": "gone"}
    assert choice_of(comparison, "auto", "fp32", "tensorflow").name == "openvino"


def test_an_engine_that_disagrees_is_left_out_even_if_it_is_fastest() -> None:
    choice = choice_of({"tensorflow": measurements(1.0, 5.0), "openvino": measurements(0.9998, 1.0)}, "auto", "fp32")
    assert choice.name == "tensorflow"
    assert choice.parity is None
    assert "openvino left out, a cosine of 0.999800, below 0.9999" in choice.reason


def test_an_engine_that_fails_is_left_out() -> None:
    choice = choice_of(
        {"tensorflow": measurements(1.0, 5.0), "openvino": {"error": "no such operation"}}, "auto", "fp32"
    )
    assert choice.name == "tensorflow"
    assert "openvino left out, no such operation" in choice.reason


def test_bf16_may_differ_and_the_distance_is_recorded() -> None:
    choice = choice_of({"tensorflow": measurements(0.999, 5.0), "openvino": measurements(0.998, 1.0)}, "auto", "bf16")
    assert (choice.name, choice.precision) == ("openvino", "bf16")
    assert choice.parity == {"examples": 8, "min_cosine": 0.998, "mean_relative_distance": 0.01}


def test_an_engine_that_computes_bf16_in_float32_is_left_out() -> None:
    exact = {**measurements(1.0, 1.0), "mean_relative_distance": 1.5e-6}
    choice = choice_of({"tensorflow": measurements(0.999, 5.0), "openvino": exact}, "auto", "bf16")
    assert choice.name == "tensorflow"
    assert "openvino left out, it computes in float32 on this processor" in choice.reason
    with pytest.raises(ModelError, match=r"bfloat16, found openvino: it computes in float32 .* Leave out --precision"):
        choice_of({"openvino": exact}, "openvino", "bf16")


def test_an_error_is_raised_if_no_engine_agrees() -> None:
    with pytest.raises(ModelError, match=r"found openvino: a cosine of 0.500000, below 0.9999. Use --engine=tens"):
        choice_of({"openvino": measurements(0.5, 1.0)}, "openvino", "fp32")


def test_a_score_of_the_same_sign_is_not_yet_the_same() -> None:
    """The cosine of two positive numbers is 1, whatever they are."""
    engines = {"tensorflow": measurements(1.0, 5.0, 0.0), "openvino": measurements(1.0, 1.0, 0.3)}
    choice = choice_of(engines, "auto", "fp32")
    assert choice.name == "tensorflow"
    assert "openvino left out, a relative distance of 0.300000, above 0.014142" in choice.reason


def graph_model(path: Path, function: Callable[[Any], Any], batch: int | None = None) -> ModelSpec:
    """A model of a function of images [B, 32, 32, 3]."""
    module = tf.Module()
    images = tf.TensorSpec([batch, 32, 32, 3], tf.float32, "images")
    serve = tf.function(lambda images: {"feature": function(images)}, input_signature=[images])
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return describe_model(ModelOptions(model=str(path), input_range=ValueRange(0, 1)))


def pooled(images: Any) -> Any:
    return tf.reshape(tf.nn.avg_pool2d(images, 8, 8, "VALID"), [tf.shape(images)[0], 48])


def by_the_brightest(images: Any) -> Any:
    return pooled(images) / tf.reduce_max(images)


def bright_and_dark() -> list[Float32Array]:
    return [image * np.float32(factor) for image, factor in zip(images(), (1.0, 0.5, 0.2), strict=True)]


def test_a_model_for_one_size_of_batch_is_called_with_that(tmp_path: Path) -> None:
    """It was a crash: the graph makes one row of whatever it gets."""
    spec = graph_model(tmp_path / "model", lambda images: tf.reshape(pooled(images), [1, -1]), batch=1)
    choice = choose_engine(spec, "auto", "fp32", None, images)
    assert (choice.batch_size, choice.alone) == (1, False)
    with pytest.raises(
        ModelError, match=r"Expected --batch_size=1, since the model .* is made for batches of 1; found"
    ):
        choose_engine(spec, "auto", "fp32", 2, images)


def test_a_model_whose_features_depend_on_the_batch_is_called_with_one_example(tmp_path: Path) -> None:
    spec = graph_model(tmp_path / "model", by_the_brightest)
    choice = choose_engine(spec, "auto", "fp32", None, bright_and_dark)
    assert (choice.batch_size, choice.alone, choice.to_json()["alone"]) == (1, True, True)
    assert "depend on its neighbours in a batch, so it is called with one at a time" in choice.notes[0]
    engine = load_engine(choice, spec, 1)
    for image in bright_and_dark():
        expected = by_the_brightest(image[np.newaxis]).numpy()
        np.testing.assert_allclose(engine.run(image[np.newaxis])["feature"], expected, rtol=1e-5)
    with pytest.raises(ModelError, match=r"Expected --batch_size=1, since the features .* depend on its neighbours"):
        choose_engine(spec, "auto", "fp32", 2, bright_and_dark)


@pytest.mark.parametrize(
    "function",
    [
        by_the_brightest,
        lambda images: tf.cond(tf.reduce_max(images) > 0.5, lambda: pooled(images), lambda: pooled(images) * 2),
        lambda images: pooled(images) + 0.005 * tf.reduce_mean(pooled(images), 0, keepdims=True),
    ],
    ids=["largest value", "branch", "share of the mean"],
)
def test_dependence_shows_where_the_examples_have_it_in_common(tmp_path: Path, function: Callable[[Any], Any]) -> None:
    """All have the same largest value, and a share of a mean is below what engines may differ by."""
    spec = graph_model(tmp_path / "model", function)
    alike = [image / image.max() for image in images()]
    assert choose_engine(spec, "tensorflow", "fp32", None, lambda: alike).alone


def test_dependence_shows_beside_an_empty_row_if_there_is_one_example_only(tmp_path: Path) -> None:
    spec = graph_model(tmp_path / "model", lambda images: pooled(images) - tf.reduce_mean(images))
    assert choose_engine(spec, "tensorflow", "fp32", None, lambda: images()[:1]).alone


def test_the_same_features_for_all_examples_are_told(tmp_path: Path) -> None:
    spec = graph_model(tmp_path / "model", lambda images: pooled(images) * 0 + 1)
    choice = choose_engine(spec, "auto", "fp32", None, images)
    assert choice.notes == ("the features of all examples at the start of the input are the same",)
    same = [images()[0]] * 3
    other = graph_model(tmp_path / "other", pooled)
    assert choose_engine(other, "auto", "fp32", None, lambda: same).notes == ()


def test_examples_without_finite_features_are_not_compared(tmp_path: Path) -> None:
    spec = graph_model(tmp_path / "model", lambda images: pooled(images) / tf.reduce_max(images, [1, 2, 3])[:, None])
    dark = [np.zeros((32, 32, 3), np.float32), *images()]
    choice = choose_engine(spec, "openvino", "fp32", None, lambda: dark)
    assert choice.parity is not None
    assert choice.parity["examples"] == 3
    with pytest.raises(ModelError, match="NaN or infinity for every example"):
        choose_engine(spec, "tensorflow", "fp32", None, lambda: dark[:1])


class DyingEngine(TensorFlowEngine):
    """Crashes as native code does."""

    def run(self, batch: Batch) -> Mapping[str, Float32Array]:
        die()
        return super().run(batch)


def die(**_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def compare_with_dying_engine(**arguments: Any) -> Any:
    ENGINES.entries["openvino"] = Entry(f"{__name__}:DyingEngine")
    return compare_engines(**arguments)


def other_comparison(name: str) -> Callable[..., Any]:
    """Runs a function of this module in place of the comparison, in a process of its own."""
    return lambda function, **arguments: run_isolated(f"{__name__}:{name}", **arguments)


def test_an_engine_that_crashes_is_left_out_and_named(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "run_isolated", other_comparison("compare_with_dying_engine"))
    choice = choose_engine(spec, "auto", "fp32", 5, images)
    assert choice.name == "tensorflow"
    assert "openvino left out, its process ended by SIGSEGV" in choice.reason


def test_tensorflow_that_crashes_is_a_sentence(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "run_isolated", other_comparison("die"))
    with pytest.raises(
        ModelError, match=r"TensorFlow itself crashed on the model .* \(SIGSEGV\).*TF_ENABLE_ONEDNN_OPTS"
    ):
        choose_engine(spec, "tensorflow", "fp32", 3, images)


def test_cosine_and_distance() -> None:
    one, two = np.array([3.0, 4.0], np.float32), np.array([4.0, 3.0], np.float32)
    assert cosine(one, one) == pytest.approx(1)
    assert cosine(one, two) == pytest.approx(24 / 25)
    assert distance(one, two) == pytest.approx(2**0.5 / 5)
    zero = np.zeros(2, np.float32)
    assert (cosine(zero, zero), cosine(zero, one)) == (1.0, 0.0)
