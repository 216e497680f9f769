from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.records import Float32Array
from beam_job.core.values import ValueRange
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import _choice, _cosine, _distance, choose_engine
from beam_job.models.spec import ModelSpec, describe_model
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


def test_tensorflow_in_fp32_needs_no_comparison(spec: ModelSpec) -> None:
    assert choose_engine(spec, "tensorflow", "fp32", None, never) == EngineChoice("tensorflow", "fp32", "requested")


def test_without_an_image_tensorflow_is_chosen(tmp_path: Path) -> None:
    path = save_reusable(tmp_path / "model", size=16)
    spec = describe_model(ModelOptions(model=str(path), input_range=ValueRange(0, 1)))
    assert choose_engine(spec, "auto", "fp32", None, list).name == "tensorflow"
    named = choose_engine(spec, "openvino", "fp32", None, list)
    assert (named.name, named.parity) == ("openvino", None)
    assert named.reason == "requested; not compared: no usable example at the start of the input"


def measurements(cosine: float, milliseconds: float) -> dict[str, Any]:
    return {"examples": 8, "min_cosine": cosine, "mean_relative_distance": 0.01, "milliseconds": milliseconds}


def test_the_fastest_engine_that_agrees_is_chosen() -> None:
    choice = _choice({"tensorflow": measurements(1.0, 5.0), "openvino": measurements(0.99995, 3.0)}, "auto", "fp32")
    assert (choice.name, choice.reason) == ("openvino", "the fastest of tensorflow, openvino")


def test_a_resumed_run_keeps_its_engine_if_it_agrees() -> None:
    comparison = {"tensorflow": measurements(1.0, 5.0), "openvino": measurements(0.99995, 3.0)}
    assert _choice(comparison, "auto", "fp32", "tensorflow").name == "tensorflow"
    comparison["tensorflow"] = {"error": "gone"}
    assert _choice(comparison, "auto", "fp32", "tensorflow").name == "openvino"


def test_an_engine_that_disagrees_is_left_out_even_if_it_is_fastest() -> None:
    choice = _choice({"tensorflow": measurements(1.0, 5.0), "openvino": measurements(0.9998, 1.0)}, "auto", "fp32")
    assert choice.name == "tensorflow"
    assert choice.parity is None
    assert "openvino left out, a cosine of 0.999800, below 0.9999" in choice.reason


def test_an_engine_that_fails_is_left_out() -> None:
    choice = _choice({"tensorflow": measurements(1.0, 5.0), "openvino": {"error": "no such operation"}}, "auto", "fp32")
    assert choice.name == "tensorflow"
    assert "openvino left out, no such operation" in choice.reason


def test_bf16_may_differ_and_the_distance_is_recorded() -> None:
    choice = _choice({"tensorflow": measurements(0.999, 5.0), "openvino": measurements(0.998, 1.0)}, "auto", "bf16")
    assert (choice.name, choice.precision) == ("openvino", "bf16")
    assert choice.parity == {"examples": 8, "min_cosine": 0.998, "mean_relative_distance": 0.01}


def test_an_engine_that_computes_bf16_in_float32_is_left_out() -> None:
    exact = {**measurements(1.0, 1.0), "mean_relative_distance": 1.5e-6}
    choice = _choice({"tensorflow": measurements(0.999, 5.0), "openvino": exact}, "auto", "bf16")
    assert choice.name == "tensorflow"
    assert "openvino left out, it computes in float32 on this processor" in choice.reason
    with pytest.raises(ModelError, match=r"bfloat16, found openvino: it computes in float32 .* Leave out --precision"):
        _choice({"openvino": exact}, "openvino", "bf16")


def test_an_error_is_raised_if_no_engine_agrees() -> None:
    with pytest.raises(ModelError, match=r"found openvino: a cosine of 0.500000, below 0.9999. Use --engine=tens"):
        _choice({"openvino": measurements(0.5, 1.0)}, "openvino", "fp32")


def test_cosine_and_distance() -> None:
    one, two = np.array([3.0, 4.0], np.float32), np.array([4.0, 3.0], np.float32)
    assert _cosine(one, one) == pytest.approx(1)
    assert _cosine(one, two) == pytest.approx(24 / 25)
    assert _distance(one, two) == pytest.approx(2**0.5 / 5)
    zero = np.zeros(2, np.float32)
    assert (_cosine(zero, zero), _cosine(zero, one)) == (1.0, 0.0)
