from pathlib import Path

import pytest
from PIL import Image

from beam_job.core.errors import OutputError
from beam_job.modalities.image.samples import PHOTOGRAPHS, write_samples


def test_the_samples_are_photographs_in_folders(samples: Path) -> None:
    assert sorted(path.name for path in samples.iterdir()) == sorted(PHOTOGRAPHS)
    with Image.open(next(samples.glob("cat/*.jpg"))) as image:
        assert image.format == "JPEG"
        assert 50 < max(image.size) <= 500


def test_the_same_seed_gives_the_same_crops(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_samples(str(tmp_path / name), 1, seed)
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")} for name in "abc"]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="Expected an empty directory"):
        write_samples(str(tmp_path), 1)
