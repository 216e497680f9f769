"""TF Hub handles, resolved by tensorflow_hub from a server that behaves like TF Hub."""

from pathlib import Path

import numpy as np
import pytest

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import LayerChoice
from beam_job.modalities.image.preprocessing import UNIT
from beam_job.models.spec import describe_model
from beam_job.runtime import storage
from tests.support.bucket import Bucket
from tests.support.hub_server import archive, serve_hub
from tests.support.models import features
from tests.support.small_models import save_reusable, save_tf1_module
from tests.support.zoo import sounds


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).random((4, 32, 32, 3), np.float32)


def test_a_compressed_model_is_fetched_once(tmp_path: Path, pixels: np.ndarray) -> None:
    path = save_reusable(tmp_path / "model")
    with serve_hub({"/google/means/1": archive(path)}) as (address, requests):
        options = ModelOptions(model=f"{address}/google/means/1")
        spec = describe_model(options)
        assert requests == ["/google/means/1?tf-hub-format=compressed"]
        np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)
        assert len(requests) == 1
    assert spec.modality.input.convention == UNIT
    assert spec.digest == storage.directory_digest(str(path))


def test_a_module_of_tensorflow_1(tmp_path: Path, pixels: np.ndarray) -> None:
    path = save_tf1_module(tmp_path / "module")
    with serve_hub({"/google/imagenet/1": archive(path)}) as (address, _):
        options = ModelOptions(model=f"{address}/google/imagenet/1")
        np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)
        both = ModelOptions(model=options.model, layer=(LayerChoice("default"), LayerChoice("largest")))
        assert describe_model(both).outputs == {"feature/default": (3,), "feature/largest": (3,)}


def test_the_rate_of_a_model_of_sounds_is_known_by_its_handle(tmp_path: Path) -> None:
    sounds.yamnet(tmp_path / "model")
    content = archive(tmp_path / "model")
    layer = (LayerChoice("output_1", "avg"),)
    with serve_hub({"/google/yamnet/1": content, "/someone/sounds/1": content}) as (address, _):
        spec = describe_model(ModelOptions(model=f"{address}/google/yamnet/1", layer=layer))
        assert spec.modality.rate == 16_000
        with pytest.raises(FlagNeededError, match="give --sample_rate"):
            describe_model(ModelOptions(model=f"{address}/someone/sounds/1", layer=layer))


def test_an_uncompressed_model_in_a_bucket(
    tmp_path: Path, bucket: Bucket, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_reusable(tmp_path / "model")
    for info in storage.list_files(str(path)):
        bucket.write(f"{tmp_path.name}/{storage.relative(info.path, str(path))}", Path(info.path).read_bytes())
    monkeypatch.setenv("TFHUB_MODEL_LOAD_FORMAT", "UNCOMPRESSED")
    with serve_hub({"/google/means/2": bucket.url(tmp_path.name)}) as (address, requests):
        options = ModelOptions(model=f"{address}/google/means/2")
        np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)
        assert requests == ["/google/means/2?tf-hub-format=uncompressed"]


def test_the_error_for_an_unavailable_model_explains_what_to_do() -> None:
    with serve_hub({"/google/broken/1": b"no archive"}) as (address, _):
        with pytest.raises(
            ModelError, match=r"There is no model at .*/google/nothing/1: the server answered 404"
        ) as gone:
            describe_model(ModelOptions(model=f"{address}/google/nothing/1"))
        with pytest.raises(ModelError, match="is not an archive of a model") as broken:
            describe_model(ModelOptions(model=f"{address}/google/broken/1"))
    with pytest.raises(ModelError, match="cannot be reached") as unreachable:
        describe_model(ModelOptions(model=f"{address}/google/means/1"))
    for caught in (gone, broken, unreachable):
        assert "Download the model by hand" in str(caught.value)
        assert "\n" not in str(caught.value)
