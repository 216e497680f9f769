from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError, UsageError
from beam_job.core.options import ModelOptions
from beam_job.engines import openvino as openvino_engine
from beam_job.engines.base import Engine, EngineChoice, load_engine
from beam_job.engines.registry import ENGINES
from beam_job.engines.selection import MIN_BF16_DISTANCE, choose_engine
from beam_job.models.spec import ModelSpec, describe_model
from tests.engines.contract import BATCH, EngineContract


class TestTensorFlow(EngineContract):
    name = "tensorflow"

    def test_a_batch_that_does_not_fit_is_halved(self, spec: ModelSpec, pixels: np.ndarray) -> None:
        engine: Any = load_engine(EngineChoice(self.name), spec, BATCH, 1)
        expected = engine.run(pixels[:BATCH])["feature"]
        whole, sizes = engine._call, []

        def small_memory(batch: Any) -> Any:
            sizes.append(len(batch))
            if len(batch) > 1:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return whole(batch)

        engine._call = small_memory
        np.testing.assert_allclose(engine.run(pixels[:BATCH])["feature"], expected, atol=1e-4)
        assert sizes == [4, 2, 1, 1, 2, 1, 1]


class TestOpenVino(EngineContract):
    name = "openvino"

    def test_streams_that_share_their_weights_give_the_same(
        self, spec: ModelSpec, engine: Engine, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openvino_engine, "_COPIED_WEIGHTS", 0)
        shared = load_engine(EngineChoice(self.name), spec, BATCH, 2)
        np.testing.assert_array_equal(shared.run(pixels[:BATCH])["feature"], engine.run(pixels[:BATCH])["feature"])


def test_every_engine_keeps_the_contract() -> None:
    assert {member.name for member in EngineContract.__subclasses__()} == set(ENGINES)


def test_bf16_is_bf16_or_refused() -> None:
    """Processors differ: on one without bfloat16, an engine that computes in float32 must not be taken for it."""
    from tests.support.golden import FILE, golden_features

    golden = np.load(FILE)
    taken = {}
    for name in ENGINES:
        try:
            found = golden_features(EngineChoice(name, "bf16"))
        except ModelError as error:
            assert "does not compute in bfloat16 on this processor" in str(error)
            continue
        distances = [
            float(np.linalg.norm(found[picture] - expected) / np.linalg.norm(expected))
            for picture, expected in golden.items()
        ]
        assert max(distances) < 0.1, name
        taken[name] = np.mean(distances)
    fit = [name for name, mean in taken.items() if mean >= MIN_BF16_DISTANCE]
    assert "openvino" in fit or "openvino" not in taken
    if fit:
        assert choose("bf16").name in fit
    else:
        with pytest.raises(ModelError, match=r"^Expected an engine that computes in bfloat16, found .*Leave out"):
            choose("bf16")


def choose(precision: str) -> EngineChoice:
    return choose_engine(
        describe_model(ModelOptions()), "auto", precision, None, lambda: [np.full((224, 224, 3), 0.3, np.float32)]
    )


def test_bf16_stays_within_its_engine() -> None:
    from tests.support.golden import golden_features

    before = golden_features()
    golden_features(EngineChoice("tensorflow", "bf16"))
    after = golden_features()
    assert all((before[picture] == after[picture]).all() for picture in before)


def test_an_unknown_engine_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="found 'tensorflo'; did you mean 'tensorflow'"):
        ENGINES.get("tensorflo")
