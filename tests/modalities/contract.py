"""What every modality must do. A member's test class inherits this and provides a modality and contents."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from beam_job.core.errors import DecodeError
from beam_job.core.records import Shape
from beam_job.modalities.base import Modality, as_batch

# What numpy holds a TensorFlow type in, where they are not called alike.
TYPES = {"string": "object"}


class ModalityContract:
    """``modality``: one for some model; ``contents``: bytes of at least two different examples.

    ``shape``: that of a row of the frozen graph's input; by default that of the neutral example.
    """

    @pytest.fixture
    def modality(self) -> Modality:
        raise NotImplementedError

    @pytest.fixture
    def contents(self) -> list[bytes]:
        raise NotImplementedError

    @pytest.fixture
    def shape(self, modality: Modality) -> Shape:
        return modality.probe().shape

    def test_a_prepared_example_has_the_type_of_the_frozen_input(
        self, modality: Modality, contents: list[bytes]
    ) -> None:
        for content in contents:
            example = modality.prepare(content)
            assert example.dtype == np.dtype(TYPES.get(modality.input_dtype, modality.input_dtype))
            assert example.ndim == modality.probe().ndim

    def test_preparing_again_gives_the_same_and_overwrites_nothing(
        self, modality: Modality, contents: list[bytes]
    ) -> None:
        first = modality.prepare(contents[0])
        before = first.copy()
        other = modality.prepare(contents[1])
        np.testing.assert_array_equal(first, before)
        np.testing.assert_array_equal(modality.prepare(contents[0]), before)
        assert first.shape != other.shape or not np.array_equal(first, other)

    def test_a_batch_holds_its_examples_in_order(self, modality: Modality, contents: list[bytes]) -> None:
        examples = [modality.prepare(content) for content in contents]
        same = all(example.shape == examples[0].shape for example in examples)
        batch = as_batch(examples, examples[0].shape if same else (None,))
        assert len(batch) == len(examples)
        for row, example in zip(batch, examples, strict=True):
            np.testing.assert_array_equal(np.array(row, example.dtype), example)

    def test_trials_differ_and_are_as_many_as_wanted(self, modality: Modality, shape: Shape) -> None:
        probe = modality.probe()
        for count in (1, 2, 5):
            batches = modality.trials(shape, count)
            for batch in batches:
                assert len(batch) == count
                assert isinstance(batch, np.ndarray)
                assert batch.dtype == probe.dtype
                assert count == 1 or not np.array_equal(batch[0], batch[1])
            assert len({batch.shape for batch in batches}) == len(batches) or not shape

    def test_a_neutral_example_has_the_shape_of_others(self, modality: Modality, shape: Shape) -> None:
        row = modality.probe()[0] if modality.is_windowed(shape) else modality.probe()
        assert len(row.shape) == len(shape)
        assert all(wanted in (None, length) for wanted, length in zip(shape, row.shape, strict=True))

    def test_no_bytes_are_an_error_of_the_example(self, modality: Modality) -> None:
        with pytest.raises(DecodeError) as caught:
            modality.prepare(b"")
        assert "\n" not in str(caught.value)

    def test_it_travels_to_the_workers(self, modality: Modality, contents: list[bytes]) -> None:
        there = pickle.loads(pickle.dumps(modality))
        assert there == modality
        np.testing.assert_array_equal(there.prepare(contents[0]), modality.prepare(contents[0]))

    def test_what_it_does_is_recorded_as_json(self, modality: Modality) -> None:
        for recorded in (modality.preprocessing(), modality.decode_policy()):
            assert json.loads(json.dumps(recorded)) == recorded

    def test_suffixes_are_in_lower_case(self, modality: Modality) -> None:
        assert modality.suffixes
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in modality.suffixes)
