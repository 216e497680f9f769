"""One set of photographs and one extraction of it for the whole session, which most tests read."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import beam_job
from beam_job.modalities.image.samples import PHOTOGRAPHS
from beam_job.runtime.cache import CACHE_VARIABLE

pytest.register_assert_rewrite(
    "tests.inputs.contract", "tests.engines.contract", "tests.modalities.contract", "tests.outputs.contract"
)

from tests.support.bucket import Bucket, serve_bucket  # noqa: E402
from tests.support.datasets import IMAGES_PER_CLASS, SPLITS  # noqa: E402
from tests.support.small_models import save_reusable  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session's own, so that no test depends on what was on the machine before."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are frozen, and engines compared, in this process; a separate one takes seconds to start."""

    def call(function: str, **arguments: Any) -> Any:
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(**arguments)

    for module in ("beam_job.models.frozen", "beam_job.engines.selection"):
        monkeypatch.setattr(f"{module}.run_isolated", call)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,008 photographs in 12 class folders, without splits. Read only."""
    made = tmp_path_factory.mktemp("made") / "samples"
    assert beam_job.samples(str(made), examples_per_class=IMAGES_PER_CLASS) == IMAGES_PER_CLASS * len(PHOTOGRAPHS)
    folder = tmp_path_factory.mktemp("photographs") / "samples"
    for path in made.glob("*/*/*.jpg"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.parent.name / path.name)
    return folder


@pytest.fixture(scope="session")
def extracted(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, beam_job.RunResult]:
    """The features of ``samples`` in three splits, and what the run returned. Read only."""
    output = tmp_path_factory.mktemp("features") / "dataset"
    return output, beam_job.extract(str(samples), str(output), splits=SPLITS)


@pytest.fixture(scope="session")
def dataset(extracted: tuple[Path, beam_job.RunResult]) -> Path:
    """The directory of the features of ``samples``. Read only."""
    return extracted[0]


@pytest.fixture(scope="session")
def few(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 photographs in 4 classes, for tests of the run itself. Read only."""
    folder = tmp_path_factory.mktemp("few") / "photographs"
    for name in ("cat", "coffee", "coins", "rocket"):
        (folder / name).mkdir(parents=True)
        for path in sorted((samples / name).iterdir())[:10]:
            shutil.copy2(path, folder / name / path.name)
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options for a model that costs nothing, for tests of the run itself."""
    return {"model": str(save_reusable(tmp_path_factory.mktemp("means") / "model")), "input_range": "0,1"}


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """An emulated bucket that this process and its children reach as gs://."""
    with serve_bucket() as served, pytest.MonkeyPatch.context() as patch:
        for name, value in served.environment.items():
            patch.setenv(name, value)
        yield served
