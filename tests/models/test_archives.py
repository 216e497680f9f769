"""Archives of SavedModels: valid, hostile and damaged."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ValueRange
from beam_job.models.sources.selection import fetch_model
from beam_job.models.spec import describe_model
from beam_job.runtime import storage
from tests.support.bucket import Bucket
from tests.support.hub_server import archive
from tests.support.models import features
from tests.support.small_models import save_reusable

pytestmark = pytest.mark.usefixtures("in_this_process")
RANGE = ValueRange(0, 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reusable(tmp_path_factory.mktemp("means") / "model")


def test_an_archive_gives_the_features_and_digest_of_its_model(model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archive(model))
    pixels = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    options = ModelOptions(model=str(tmp_path / "model.tar.gz"), input_range=RANGE)
    np.testing.assert_allclose(features(options, pixels)["feature"], pixels.mean((1, 2)), rtol=1e-5)
    assert fetch_model(options).digest == storage.directory_digest(str(model))


def test_a_model_in_a_folder_of_the_archive_and_in_a_bucket(model: Path, tmp_path: Path, bucket: Bucket) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(model, "some/folder")
    handle = bucket.write(f"{tmp_path.name}/model.tar", buffer.getvalue())
    assert describe_model(ModelOptions(model=handle, input_range=RANGE)).outputs == {"feature": (3,)}


def hostile(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"bad"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        hostile("../outside"),
        hostile("a/../../outside"),
        hostile("link", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("link", tarfile.SYMTYPE, "../../outside"),
        hostile("link", tarfile.LNKTYPE, "/etc/passwd"),
        hostile("device", tarfile.CHRTYPE),
        hostile("pipe", tarfile.FIFOTYPE),
    ],
    ids=["parent", "folder", "symlink", "parent symlink", "hard link", "device", "pipe"],
)
def test_nothing_is_written_outside_the_target(tmp_path: Path, content: bytes, model_cache: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(ModelError, match=r"is not unpacked: ") as caught:
        fetch_model(ModelOptions(model=str(tmp_path / "model.tar.gz")))
    assert "\n" not in str(caught.value)
    assert not [path for path in model_cache.rglob("*") if path.name in ("outside", "link", "device", "pipe")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file; copy it again"),
        (b"no archive", "Expected a complete .tar.gz"),
        (hostile("notes.txt"), "Expected one SavedModel in the archive"),
        (None, "There is no file at"),
    ],
    ids=["empty", "text", "no model", "missing"],
)
def test_a_file_that_is_not_an_archive_of_a_model_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "model.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        fetch_model(ModelOptions(model=str(path)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_archive_is_refused(model: Path, tmp_path: Path, share: float) -> None:
    complete = archive(model)
    (tmp_path / "model.tar.gz").write_bytes(complete[: int(len(complete) * share)])
    with pytest.raises(ModelError, match=r"Expected a complete \.tar\.gz"):
        fetch_model(ModelOptions(model=str(tmp_path / "model.tar.gz")))
