"""Runs through Beam's portability layer, the road to Flink and every other runner outside this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import beam_job
from beam_job import naming
from beam_job.errors import InputError
from tests.portable import portable_runner
from tests.test_pipeline import comparable_files

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with portable_runner(tmp_path_factory.mktemp("logs")) as options:
        yield options


def test_the_bytes_are_those_of_a_local_run(few: Path, tmp_path: Path, portable: list[str]) -> None:
    result = beam_job.extract(str(few), str(tmp_path / "out"), num_shards=4, beam_options=portable)
    assert (result.images, result.records) == (40, 40)
    beam_job.extract(str(few), str(tmp_path / "local"), num_shards=4)
    assert comparable_files(tmp_path / "out") == comparable_files(tmp_path / "local")


def test_it_is_gone_on_with(few: Path, tmp_path: Path, portable: list[str]) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(few), str(output), num_shards=4, beam_options=portable)
    expected = comparable_files(output)
    for path in sorted(output.glob("receipts/*.json"))[::2]:
        path.unlink()
    (output / naming.SUCCESS).unlink()
    beam_job.extract(str(few), str(output), num_shards=4, resume=True, beam_options=portable)
    assert comparable_files(output) == expected


def test_what_goes_wrong_in_a_worker_is_one_sentence(few: Path, tmp_path: Path, portable: list[str]) -> None:
    manifest = tmp_path / "images.csv"
    manifest.write_text(f"uri,id\n{few}/cat/cat-0000.jpg,a\n{few}/cat/cat-0001.jpg,a\n")
    with pytest.raises(InputError, match="found repeated: 'a'"):
        beam_job.extract(str(manifest), str(tmp_path / "out"), beam_options=portable)
