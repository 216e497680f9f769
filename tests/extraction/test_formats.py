"""Whole runs over files of every image format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import beam_job
from tests.support.datasets import error_rows_of, records_of
from tests.support.formats import READ_BY_JPEG, SIDE, WRITTEN, as_written, gray_of_16_bits, pillows_pixels
from tests.support.images import encode, photograph


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options for a model whose features are the pixels of an image of 16x16."""
    image = tf.keras.Input((SIDE, SIDE, 3))
    path = tmp_path_factory.mktemp("pixels") / "pixels.keras"
    tf.keras.Model(image, tf.keras.layers.Flatten()(image)).save(path)
    return {"model": str(path), "input_range": "0,255", "engine": "tensorflow"}


def test_every_format_that_pillow_writes_has_its_pixels_or_a_row_that_says_why_not(
    tmp_path: Path, pixels: dict[str, str]
) -> None:
    names = [f"{kind}-{mode.replace(';', '')}" for kind, mode in WRITTEN]
    contents = {name: as_written(kind, mode) or b"" for name, (kind, mode) in zip(names, WRITTEN, strict=True)}
    for kind in READ_BY_JPEG:
        contents[kind] = encode(photograph(SIDE, SIDE), kind)
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "images.jsonl").write_text("".join(json.dumps({"uri": name}) + "\n" for name in contents))
    result = beam_job.extract(str(tmp_path / "images.jsonl"), str(tmp_path / "out"), max_error_rate=1.0, **pixels)
    records, rows = records_of(tmp_path / "out"), error_rows_of(tmp_path / "out")
    assert result.examples == len(contents) == len(records) + len(rows)
    for row in rows.values():
        assert row["message"].startswith("expected ")
        assert "found " in row["message"]
    exact = 0
    for name, record in records.items():
        feature = np.reshape(record["feature"], (SIDE, SIDE, 3))
        gray = gray_of_16_bits(contents[name])
        if name in READ_BY_JPEG:
            expected = tf.io.decode_jpeg(contents[name], channels=3).numpy()
        elif gray is not None:
            expected = np.repeat(gray[:, :, np.newaxis], 3, axis=2)
        else:
            expected = pillows_pixels(contents[name])
            exact += 1
        resized = tf.image.resize(expected, (SIDE, SIDE)).numpy()  # an icon has several sizes, and the largest is read
        np.testing.assert_allclose(feature, resized, atol=1e-4, err_msg=name)
    assert exact > 50
    assert {name.partition("-")[0] for name in rows} >= {"EPS", "PDF", "SPIDER"}
    assert {row["message"] for name, row in rows.items() if name.startswith("EPS")} == {
        "expected an image, found a PostScript (EPS) file, which is not decoded because that starts another program"
    }


def test_thumbnails_are_read_as_the_job_reads_its_examples(tmp_path: Path, pixels: dict[str, str]) -> None:
    from beam_job.dataset.reading import Dataset
    from beam_job.reporting.page import _previews

    for folder in ("in", "outside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jp2").write_bytes(encode(photograph(40, 60), "JPEG2000"))
    rows = ["uri,id", f"{tmp_path}/in/a.jp2,in", f"{tmp_path}/outside/a.jp2,outside"]
    (tmp_path / "images.csv").write_text("\n".join(rows))
    beam_job.extract(str(tmp_path / "images.csv"), str(tmp_path / "out"), **pixels)
    dataset = Dataset.open(str(tmp_path / "out"))
    assert set(_previews(dataset, ["in", "outside"])) == {"in", "outside"}
    dataset.run["options"]["allowed_roots"] = [str(tmp_path / "in")]
    assert set(_previews(dataset, ["in", "outside"])) == {"in"}
    assert _previews(dataset, ["in"])["in"].content.startswith("data:image/jpeg;base64,")
