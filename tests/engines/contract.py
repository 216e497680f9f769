"""The contract of engines. The test class of an engine inherits it and sets the name."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.engines.base import BF16, FP32, Engine, EngineChoice
from beam_job.engines.registry import ENGINES
from beam_job.engines.selection import load_engine
from beam_job.models.sources.builtin import BuiltinModel
from beam_job.models.spec import ModelSpec, describe_model

BATCH = 4


class EngineContract:
    """``name``: the engine's name in the registry."""

    name: ClassVar[str]

    @pytest.fixture(scope="class")
    def spec(self, model_cache: Path) -> ModelSpec:
        return describe_model(ModelOptions())

    @pytest.fixture(scope="class")
    def engine(self, spec: ModelSpec) -> Engine:
        return load_engine(EngineChoice(self.name, batch_size=BATCH), spec, 2)

    @pytest.fixture(scope="class")
    def pixels(self, samples: Path) -> np.ndarray:
        paths = sorted(samples.glob("*/*-0000.jpg"))[: 2 * BATCH]
        decoded = [tf.image.resize(tf.io.decode_jpeg(path.read_bytes()), (224, 224)) / 255.0 for path in paths]
        return np.stack(decoded)

    def test_features_match_the_saved_model(self, engine: Engine, pixels: np.ndarray) -> None:
        model: Any = tf.saved_model.load(BuiltinModel.fetch(ModelOptions()).path)
        expected = model(pixels[:BATCH], training=False).numpy()
        found = engine.run(pixels[:BATCH])["feature"]
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())

    @pytest.mark.parametrize("count", range(1, BATCH + 1))
    def test_a_row_does_not_depend_on_the_other_rows_or_their_number(
        self, engine: Engine, pixels: np.ndarray, count: int
    ) -> None:
        few = engine.run(pixels[:count])["feature"]
        other = engine.run(np.concatenate((pixels[: count - 1], pixels[BATCH : BATCH + 1])))["feature"]
        full = engine.run(pixels[:BATCH])["feature"]
        assert len(few) == len(other) == count
        np.testing.assert_array_equal(few, full[:count])
        np.testing.assert_array_equal(other[: count - 1], full[: count - 1])

    @pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc of Linux")
    def test_no_thread_is_bound_to_a_core(self, engine: Engine, pixels: np.ndarray) -> None:
        """Otherwise all processes on a machine, which are independent, would bind their threads to the same cores."""
        all_cores, bound = os.sched_getaffinity(0), set()
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(lambda: [engine.run(pixels[:BATCH]) for _ in range(8)])
            while not work.done():
                for thread in Path("/proc/self/task").iterdir():
                    with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
                        if os.sched_getaffinity(int(thread.name)) != all_cores:
                            bound.add(thread.name)
        assert not bound

    @pytest.mark.parametrize("precision", [FP32, BF16])
    def test_a_row_does_not_depend_on_its_position_at_the_batch_size_of_the_engine(
        self, spec: ModelSpec, pixels: np.ndarray, precision: str
    ) -> None:
        size = ENGINES.get(self.name).batch_sizes[precision]
        try:
            engine = load_engine(EngineChoice(self.name, precision, size), spec, 1)
        except ModelError as error:
            if "does not compute in bfloat16 on this processor" not in str(error):
                raise
            pytest.skip(str(error))

        def features(images: np.ndarray) -> np.ndarray:
            batches = [images[start : start + size] for start in range(0, len(images), size)]
            return np.concatenate([engine.run(np.ascontiguousarray(batch))["feature"] for batch in batches])

        expected = features(pixels)
        np.testing.assert_array_equal(features(pixels[::-1])[::-1], expected)
        np.testing.assert_array_equal(features(pixels[1:]), expected[1:])

    def test_threads_may_call_concurrently(self, engine: Engine, pixels: np.ndarray) -> None:
        expected = [engine.run(pixels[start : start + BATCH])["feature"] for start in (0, BATCH)]
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda start: engine.run(pixels[start : start + BATCH]), [0, BATCH] * 4))
        for number, result in enumerate(results):
            np.testing.assert_array_equal(result["feature"], expected[number % 2])

    def test_pixels_are_not_modified(self, engine: Engine, pixels: np.ndarray) -> None:
        before = pixels.copy()
        engine.run(pixels[:BATCH])
        np.testing.assert_array_equal(pixels, before)
