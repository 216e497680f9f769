"""The heart, in a plain loop without Beam, with a real engine on a small model."""

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
from beam_job.core.options import DecodeOptions, ModelOptions, ValueRange, WorkOptions
from beam_job.core.records import Failure, FeatureRecord, Float32Array, ImageRef
from beam_job.core.sharding import order_key
from beam_job.dataset.labels import LabelVocabulary
from beam_job.engines.base import EngineChoice, load_engine
from beam_job.extract.extractor import ExtractionConfig, Extractor, make_config
from beam_job.modalities.image.decoding import decode_image
from beam_job.models.spec import describe_model
from beam_job.outputs.tfrecord.framing import read_records
from beam_job.runtime import storage
from tests.support.pictures import encode, jpeg, photograph, png_header
from tests.support.small_models import save_reusable

SHARD = ShardName("train", 0, 1)
VOCABULARY = LabelVocabulary(("cat", "dog"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> ExtractionConfig:
    path = save_reusable(tmp_path_factory.mktemp("means") / "model")
    spec = describe_model(ModelOptions(model=str(path), input_range=ValueRange(0, 1)))
    return make_config(spec, EngineChoice(), DecodeOptions(), WorkOptions(batch_size=4, worker_threads=2))


@pytest.fixture
def extractor(config: ExtractionConfig, tmp_path: Path) -> Iterator[Extractor]:
    config = dataclasses.replace(config, output=str(tmp_path / "out"))
    extractor = Extractor(config, load_engine(config.engine, config.model, config.batch_size, config.threads))
    yield extractor
    extractor.close()


@pytest.fixture
def refs(tmp_path: Path) -> list[ImageRef]:
    """Ten pictures that can be used, and one of each kind that cannot."""
    images = []
    for number in range(10):
        kind = ("JPEG", "PNG", "WEBP")[number % 3]
        path = tmp_path / f"good-{number}.{kind.lower()}"
        path.write_bytes(encode(photograph(40 + number, 50, seed=number), kind))
        images.append(ImageRef(f"good-{number}", str(path), label=("cat", "dog", None)[number % 3]))
    bad = {
        "EmptyFileError": b"",
        "UnknownFormatError": b"no picture",
        "CorruptImageError": jpeg(photograph())[:200],
        "ImageTooLargeError": png_header(100_000, 100_000),
    }
    for error, content in bad.items():
        (tmp_path / error).write_bytes(content)
        images.append(ImageRef(error, str(tmp_path / error), label="cat"))
    images.append(ImageRef("NotFoundError", str(tmp_path / "nothing.jpg"), label="cat"))
    images.append(ImageRef("UnknownLabelError", images[0].uri, label="horse"))
    images.append(ImageRef("BadReferenceError", "-", problem="line 7: expected a uri, found none"))
    (tmp_path / "directory").mkdir()
    images.append(ImageRef("ReadError", str(tmp_path / "directory"), label="cat"))
    return images


def test_every_ref_has_one_outcome_in_order(extractor: Extractor, refs: list[ImageRef]) -> None:
    outcomes = list(extractor.outcomes(refs, VOCABULARY, StageTimes()))
    assert [outcome.id for outcome in outcomes] == [ref.id for ref in refs]
    for ref, outcome in zip(refs, outcomes, strict=True):
        if ref.id.startswith("good"):
            assert isinstance(outcome, FeatureRecord)
            assert outcome.label == VOCABULARY.index(ref.label)
        else:
            assert isinstance(outcome, Failure)
            assert outcome.error == ref.id
            assert outcome.uri == ref.uri
            assert "\n" not in outcome.message


def test_features_are_those_of_the_pixels(extractor: Extractor, refs: list[ImageRef]) -> None:
    size = extractor.config.model.preprocessing.size
    for outcome in extractor.outcomes(refs[:10], VOCABULARY, StageTimes()):
        assert isinstance(outcome, FeatureRecord)
        data = next(Path(ref.uri).read_bytes() for ref in refs if ref.id == outcome.id)
        pixels = decode_image(data, size, extractor.config.decode) / 255
        np.testing.assert_allclose(outcome.features["feature"], pixels.mean((0, 1)), rtol=1e-5)


def test_a_shard_is_committed_with_a_receipt_for_every_ref(extractor: Extractor, refs: list[ImageRef]) -> None:
    receipt = extractor.extract_shard(SHARD, refs, VOCABULARY)
    assert (receipt.records, len(receipt.failures), receipt.images) == (10, 8, 18)
    assert receipt.label_counts == {-1: 3, 0: 4, 1: 3}
    content = storage.read_bytes(storage.join(extractor.config.output, SHARD.file_name))
    assert len(list(read_records(io.BytesIO(content)))) == 10
    assert set(receipt.timings) == {"read", "decode", "model", "write", "wall", "retries"}


def test_bytes_do_not_depend_on_the_order_the_refs_come_in(extractor: Extractor, refs: list[ImageRef]) -> None:
    first = extractor.extract_shard(SHARD, refs, VOCABULARY)
    shutil.rmtree(extractor.config.output)
    second = extractor.extract_shard(SHARD, refs[::-1], VOCABULARY)
    assert dataclasses.replace(first, timings={}) == dataclasses.replace(second, timings={})


def test_records_stand_in_the_order_of_their_ids_hashes(extractor: Extractor, refs: list[ImageRef]) -> None:
    import tensorflow as tf

    extractor.extract_shard(SHARD, refs[:10], VOCABULARY)
    content = storage.read_bytes(storage.join(extractor.config.output, SHARD.file_name))
    examples = [tf.train.Example.FromString(record) for record in read_records(io.BytesIO(content))]
    found = [example.features.feature["id"].bytes_list.value[0].decode() for example in examples]
    assert found == sorted(found, key=order_key)


def test_a_committed_shard_is_not_computed_again(extractor: Extractor, refs: list[ImageRef]) -> None:
    first = extractor.extract_shard(SHARD, refs, VOCABULARY)
    for ref in refs[:10]:
        Path(ref.uri).unlink()  # whoever read them again would find nothing
    assert extractor.extract_shard(SHARD, refs, VOCABULARY) == first


def test_a_shard_without_images_is_written_too(extractor: Extractor) -> None:
    assert extractor.extract_shard(SHARD, [], VOCABULARY).images == 0
    assert storage.read_bytes(storage.join(extractor.config.output, SHARD.file_name)) == b""


def test_repeated_ids_are_named(extractor: Extractor, refs: list[ImageRef]) -> None:
    twice = dataclasses.replace(refs[0], uri="/elsewhere.jpg")
    with pytest.raises(InputError, match=r"'good-0' \(.*good-0.jpeg and /elsewhere.jpg\)"):
        extractor.extract_shard(SHARD, [*refs, twice], VOCABULARY)


def test_the_probe_tells_the_shape(extractor: Extractor) -> None:
    assert extractor.probe() == {"feature": (3,)}


class _Picky:
    """An engine's answers to pixels that a model may not like; the means of the pixels otherwise."""

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        means = pixels.mean((1, 2))
        if (means.min(axis=1) > 0.95).any():
            raise ModelRejectedError("the model refused the pixels: too bright")
        means[means[:, 0] < 0.05] = np.nan
        return {"feature": means}


def test_an_image_that_the_model_rejects_takes_no_other_with_it(config: ExtractionConfig, tmp_path: Path) -> None:
    refs = []
    for number, value in enumerate((100, 255, 0, 120, 255, 90)):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode(np.full((20, 20, 3), value, np.uint8), "PNG"))
        refs.append(ImageRef(str(number), str(path)))
    extractor = Extractor(config, _Picky())
    outcomes = list(extractor.outcomes(refs, LabelVocabulary(()), StageTimes()))
    extractor.close()
    assert [isinstance(outcome, FeatureRecord) for outcome in outcomes] == [True, False, False, True, False, True]
    messages = [outcome.message for outcome in outcomes if isinstance(outcome, Failure)]
    assert messages[0] == messages[2] == "the model refused the pixels: too bright"
    assert messages[1] == "expected finite features, found NaN or infinity"


class _Broken:
    def __init__(self, answer: Mapping[str, Float32Array] | Exception) -> None:
        self._answer = answer

    def run(self, pixels: Float32Array) -> Mapping[str, Float32Array]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_a_bug_ends_the_shard_with_its_name_and_commits_nothing(
    config: ExtractionConfig, refs: list[ImageRef], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    extractor = Extractor(dataclasses.replace(config, output=str(output)), _Broken(RuntimeError("out of\nluck")))
    with pytest.raises(JobFailedError, match=r"^train-00000-of-00001.tfrecord: RuntimeError: out of luck$"):
        extractor.extract_shard(SHARD, refs, VOCABULARY)
    extractor.close()
    assert [path for path in output.rglob("*") if path.is_file()] == []


def test_an_answer_that_is_no_batch_of_features_is_refused(config: ExtractionConfig) -> None:
    extractor = Extractor(config, _Broken({"feature": np.zeros(7, np.float32)}))
    with pytest.raises(ModelError, match="Expected feature to be an array"):
        extractor.probe()
    extractor.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 17), unique=True), st.integers(1, 9), st.integers(1, 3))
def test_nothing_is_lost_whatever_the_sizes(
    config: ExtractionConfig, refs: list[ImageRef], picks: list[int], batch: int, threads: int
) -> None:
    chosen = [refs[number] for number in picks]
    config = dataclasses.replace(config, batch_size=batch, worker_threads=threads)
    extractor = Extractor(config, _Picky())
    outcomes = list(extractor.outcomes(chosen, VOCABULARY, StageTimes()))
    extractor.close()
    assert [outcome.id for outcome in outcomes] == [ref.id for ref in chosen]


def test_a_receipt_is_json_that_anyone_can_read(extractor: Extractor, refs: list[ImageRef]) -> None:
    extractor.extract_shard(SHARD, refs, VOCABULARY)
    receipt = json.loads(storage.read_bytes(storage.join(extractor.config.output, SHARD.receipt_name)))
    assert receipt["records"] + len(receipt["errors"]) == len(refs)
