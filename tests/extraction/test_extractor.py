"""The extractor and its shards without Beam, with a real engine and a small model."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_job.core.errors import InputError, JobFailedError, ModelError, ModelRejectedError
from beam_job.core.metrics import StageTimes
from beam_job.core.naming import ShardName
from beam_job.core.options import ExtractOptions
from beam_job.core.records import ErrorRow, ExampleRef, FeatureRecord, Float32Array
from beam_job.core.sharding import order_key
from beam_job.dataset.labels import LabelVocabulary
from beam_job.engines.base import EngineChoice
from beam_job.extraction.config import ExtractionConfig, make_config
from beam_job.extraction.extractor import Extractor, new_extractor
from beam_job.extraction.shards import extract_shard
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.policy import DecodePolicy
from beam_job.models.spec import describe_model
from beam_job.runtime import storage
from beam_job.runtime.framing import read_records
from tests.support.datasets import SUFFIX
from tests.support.images import encode, jpeg, photograph, png_header
from tests.support.small_models import save_reusable

SHARD = ShardName("train", 0, 1)
VOCABULARY = LabelVocabulary(("cat", "dog"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> ExtractionConfig:
    path = save_reusable(tmp_path_factory.mktemp("means") / "model")
    options = ExtractOptions.of(input="-", output="/-", model=str(path), input_range="0,1", worker_threads=2)
    return make_config(describe_model(options.model), EngineChoice(batch_size=4), options)


@pytest.fixture
def extractor(config: ExtractionConfig, tmp_path: Path) -> Iterator[Extractor]:
    config = dataclasses.replace(config, output=str(tmp_path / "out"))
    extractor = new_extractor(config)
    yield extractor
    extractor.close()


@pytest.fixture
def refs(tmp_path: Path) -> list[ExampleRef]:
    """Ten valid images, and one example for each class of error."""
    examples = []
    for number in range(10):
        kind = ("JPEG", "PNG", "WEBP")[number % 3]
        path = tmp_path / f"good-{number}.{kind.lower()}"
        path.write_bytes(encode(photograph(40 + number, 50, seed=number), kind))
        examples.append(ExampleRef(f"good-{number}", str(path), label=("cat", "dog", None)[number % 3]))
    bad = {
        "EmptyFileError": b"",
        "UnknownFormatError": b"not an image",
        "CorruptExampleError": jpeg(photograph())[:200],
        "ExampleTooLargeError": png_header(100_000, 100_000),
    }
    for error, content in bad.items():
        (tmp_path / error).write_bytes(content)
        examples.append(ExampleRef(error, str(tmp_path / error), label="cat"))
    examples.append(ExampleRef("NotFoundError", str(tmp_path / "nothing.jpg"), label="cat"))
    examples.append(ExampleRef("UnknownLabelError", examples[0].uri, label="horse"))
    examples.append(ExampleRef("BadReferenceError", "-", problem="line 7: expected a uri, found none"))
    (tmp_path / "directory").mkdir()
    examples.append(ExampleRef("ReadError", str(tmp_path / "directory"), label="cat"))
    return examples


def test_every_ref_has_one_outcome_in_order(extractor: Extractor, refs: list[ExampleRef]) -> None:
    outcomes = list(extractor.outcomes(refs, VOCABULARY, StageTimes()))
    assert [outcome.id for outcome in outcomes] == [ref.id for ref in refs]
    for ref, outcome in zip(refs, outcomes, strict=True):
        if ref.id.startswith("good"):
            assert isinstance(outcome, FeatureRecord)
            assert outcome.label == VOCABULARY.stored(ref.label)
        else:
            assert isinstance(outcome, ErrorRow)
            assert outcome.error == ref.id
            assert outcome.uri == ref.uri
            assert "\n" not in outcome.message


def test_features_match_the_pixels(extractor: Extractor, refs: list[ExampleRef]) -> None:
    size = extractor.config.model.modality.input.size  # type: ignore[attr-defined]
    for outcome in extractor.outcomes(refs[:10], VOCABULARY, StageTimes()):
        assert isinstance(outcome, FeatureRecord)
        data = next(Path(ref.uri).read_bytes() for ref in refs if ref.id == outcome.id)
        pixels = decode_image(data, size, DecodePolicy()) / 255
        np.testing.assert_allclose(outcome.features["feature"], pixels.mean((0, 1)), rtol=1e-5)


def test_a_shard_is_committed_with_a_receipt_that_counts_every_ref(
    extractor: Extractor, refs: list[ExampleRef]
) -> None:
    receipt = extract_shard(extractor, SHARD, refs, VOCABULARY)
    assert (receipt.records, len(receipt.error_rows), receipt.examples) == (10, 8, 18)
    assert receipt.label_counts == {-1: 3, 0: 4, 1: 3}
    content = storage.read_bytes(storage.join(extractor.config.output, SHARD.file_name(SUFFIX)))
    assert len(list(read_records(io.BytesIO(content)))) == 10
    assert set(receipt.timings) == {"read", "decode", "model", "write", "wall", "retries", "extracted", "run"}
    assert receipt.timings["extracted"] == 18


def test_bytes_do_not_depend_on_the_order_of_the_refs(extractor: Extractor, refs: list[ExampleRef]) -> None:
    first = extract_shard(extractor, SHARD, refs, VOCABULARY)
    shutil.rmtree(extractor.config.output)
    second = extract_shard(extractor, SHARD, refs[::-1], VOCABULARY)
    assert dataclasses.replace(first, timings={}) == dataclasses.replace(second, timings={})


def test_records_are_ordered_by_the_hash_of_their_id(extractor: Extractor, refs: list[ExampleRef]) -> None:
    import tensorflow as tf

    extract_shard(extractor, SHARD, refs[:10], VOCABULARY)
    content = storage.read_bytes(storage.join(extractor.config.output, SHARD.file_name(SUFFIX)))
    examples = [tf.train.Example.FromString(record) for record in read_records(io.BytesIO(content))]
    found = [example.features.feature["id"].bytes_list.value[0].decode() for example in examples]
    assert found == sorted(found, key=order_key)


def test_a_committed_shard_is_not_recomputed(extractor: Extractor, refs: list[ExampleRef]) -> None:
    first = extract_shard(extractor, SHARD, refs, VOCABULARY)
    for ref in refs[:10]:
        Path(ref.uri).unlink()  # a second read would fail
    assert extract_shard(extractor, SHARD, refs, VOCABULARY) == first


def test_a_shard_without_examples_is_written_too(extractor: Extractor) -> None:
    assert extract_shard(extractor, SHARD, [], VOCABULARY).examples == 0
    assert storage.read_bytes(storage.join(extractor.config.output, SHARD.file_name(SUFFIX))) == b""


def test_repeated_ids_are_reported(extractor: Extractor, refs: list[ExampleRef]) -> None:
    duplicate = dataclasses.replace(refs[0], uri="/elsewhere.jpg")
    with pytest.raises(InputError, match=r"'good-0' \(.*good-0.jpeg and /elsewhere.jpg\)"):
        extract_shard(extractor, SHARD, [*refs, duplicate], VOCABULARY)


def test_a_feature_of_another_shape_than_the_model_has_shown_ends_the_run(extractor: Extractor) -> None:
    extractor.probe()
    assert extractor.config.model.outputs == {"feature": (3,)}
    model = dataclasses.replace(extractor.config.model, outputs={"feature": (4,)})
    extractor.config = dataclasses.replace(extractor.config, model=model)
    with pytest.raises(ModelError, match=r"Expected feature of the shape \[4\] for every example, found \[3\]"):
        extractor.probe()


class _SelectiveEngine:
    """Returns the means of the pixels, refuses bright images, and returns NaN for dark images."""

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        means = pixels.mean((1, 2))
        if (means.min(axis=1) > 0.95).any():
            raise ModelRejectedError("the model refused the example: too bright")
        means[means[:, 0] < 0.05] = np.nan
        return {"feature": means}


def test_an_example_that_the_model_rejects_does_not_affect_the_others(config: ExtractionConfig, tmp_path: Path) -> None:
    refs = []
    for number, value in enumerate((100, 255, 0, 120, 255, 90)):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode(np.full((20, 20, 3), value, np.uint8), "PNG"))
        refs.append(ExampleRef(str(number), str(path)))
    extractor = Extractor(config, _SelectiveEngine())  # type: ignore[arg-type]
    outcomes = list(extractor.outcomes(refs, LabelVocabulary(()), StageTimes()))
    extractor.close()
    assert [isinstance(outcome, FeatureRecord) for outcome in outcomes] == [True, False, False, True, False, True]
    messages = [outcome.message for outcome in outcomes if isinstance(outcome, ErrorRow)]
    assert messages[0] == messages[2] == "the model refused the example: too bright"
    assert messages[1] == "expected finite features, found NaN or infinity"


class _BrokenEngine:
    def __init__(self, result: Mapping[str, Float32Array] | Exception) -> None:
        self._result = result

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def test_a_bug_fails_the_shard_by_name_and_commits_nothing(
    config: ExtractionConfig, refs: list[ExampleRef], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    extractor = Extractor(dataclasses.replace(config, output=str(output)), _BrokenEngine(RuntimeError("out of\nluck")))
    with pytest.raises(JobFailedError, match=r"^train-00000-of-00001: RuntimeError: out of luck$"):
        extract_shard(extractor, SHARD, refs, VOCABULARY)
    extractor.close()
    assert [path for path in output.rglob("*") if path.is_file()] == []


def test_an_output_that_is_not_a_batch_of_features_is_refused(config: ExtractionConfig) -> None:
    extractor = Extractor(config, _BrokenEngine({"feature": np.zeros(7, np.float32)}))
    with pytest.raises(ModelError, match="Expected feature to be an array"):
        extractor.probe()
    extractor.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 17), unique=True), st.integers(1, 9), st.integers(1, 3))
def test_no_example_is_lost_for_any_batch_size_and_number_of_threads(
    config: ExtractionConfig, refs: list[ExampleRef], indices: list[int], batch: int, threads: int
) -> None:
    chosen = [refs[number] for number in indices]
    config = dataclasses.replace(config, engine=EngineChoice(batch_size=batch), worker_threads=threads)
    extractor = Extractor(config, _SelectiveEngine())  # type: ignore[arg-type]
    outcomes = list(extractor.outcomes(chosen, VOCABULARY, StageTimes()))
    extractor.close()
    assert [outcome.id for outcome in outcomes] == [ref.id for ref in chosen]


def test_a_receipt_is_plain_json(extractor: Extractor, refs: list[ExampleRef]) -> None:
    extract_shard(extractor, SHARD, refs, VOCABULARY)
    receipt = json.loads(storage.read_bytes(storage.join(extractor.config.output, SHARD.receipt_name)))
    assert receipt["records"] + len(receipt["errors"]) == len(refs)
