from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError, UsageError
from beam_job.core.options import ModelOptions
from beam_job.engines import openvino as openvino_engine
from beam_job.engines.base import Engine, EngineChoice
from beam_job.engines.registry import ENGINES
from beam_job.engines.selection import MIN_BF16_DISTANCE, choose_engine, load_engine
from beam_job.models.spec import ModelSpec, describe_model
from tests.engines.contract import BATCH, EngineContract


class TestTensorFlow(EngineContract):
    name = "tensorflow"

    def test_a_batch_that_exceeds_the_memory_is_halved(self, spec: ModelSpec, pixels: np.ndarray) -> None:
        engine: Any = load_engine(EngineChoice(self.name, batch_size=BATCH), spec, 1)
        expected = engine.run(pixels[:BATCH])["feature"]
        original, sizes = engine._call, []

        def small_memory(batch: Any) -> Any:
            sizes.append(len(batch))
            if len(batch) > 1:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return original(batch)

        engine._call = small_memory
        np.testing.assert_allclose(engine.run(pixels[:BATCH])["feature"], expected, atol=1e-4)
        assert sizes == [4, 2, 1, 1, 2, 1, 1]


class TestOpenVino(EngineContract):
    name = "openvino"

    def test_streams_that_share_weights_give_the_same_features(
        self, spec: ModelSpec, engine: Engine, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openvino_engine, "_COPIED_WEIGHTS", 0)
        shared = load_engine(EngineChoice(self.name, batch_size=BATCH), spec, 2)
        np.testing.assert_array_equal(shared.run(pixels[:BATCH])["feature"], engine.run(pixels[:BATCH])["feature"])


def test_every_engine_has_a_contract_test() -> None:
    assert {member.name for member in EngineContract.__subclasses__()} == set(ENGINES)


def test_bf16_is_bf16_or_refused() -> None:
    """CPUs differ. On a CPU without bfloat16, an engine that computes in float32 must not pass as bf16."""
    from tests.support.golden import FILE, golden_features

    golden = np.load(FILE)
    mean_distances = {}
    for name in ENGINES:
        try:
            found = golden_features(EngineChoice(name, "bf16"))
        except ModelError as error:
            assert "does not compute in bfloat16 on this processor" in str(error)
            continue
        distances = [
            float(np.linalg.norm(found[photograph] - expected) / np.linalg.norm(expected))
            for photograph, expected in golden.items()
        ]
        assert max(distances) < 0.1, name
        mean_distances[name] = np.mean(distances)
    usable = [name for name, mean in mean_distances.items() if mean >= MIN_BF16_DISTANCE]
    assert "openvino" in usable or "openvino" not in mean_distances
    if usable:
        assert choose("bf16").name in usable
    else:
        with pytest.raises(ModelError, match=r"^Expected an engine that computes in bfloat16, found .*Leave out"):
            choose("bf16")


def choose(precision: str) -> EngineChoice:
    return choose_engine(
        describe_model(ModelOptions()), "auto", precision, None, lambda: [np.full((224, 224, 3), 0.3, np.float32)]
    )


def test_bf16_does_not_affect_other_engines() -> None:
    from tests.support.golden import golden_features

    before = golden_features()
    golden_features(EngineChoice("tensorflow", "bf16"))
    after = golden_features()
    assert all((before[photograph] == after[photograph]).all() for photograph in before)


def test_an_unknown_engine_is_reported_in_one_sentence() -> None:
    with pytest.raises(UsageError, match="found 'tensorflo'; did you mean 'tensorflow'"):
        ENGINES.get("tensorflo")
