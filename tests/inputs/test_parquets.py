"""Tests of Parquet files as an input: which column is what, and what becomes of damaged ones."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from beam_job.core.errors import InputError
from beam_job.core.records import ErrorRow, ExampleRef
from beam_job.dataset.originals import example_files
from beam_job.inputs.base import Columns, Container, Listing
from beam_job.inputs.selection import open_source
from beam_job.modalities.text.modality import TextModality
from tests.inputs.container_contract import ContainerContract, Found, read
from tests.inputs.contract import IMAGES
from tests.support.damage import DAMAGES_OF_CONTAINERS, damaged
from tests.support.images import jpeg, photograph

ROWS = [("a/1.jpg", b"one"), ("b/2.png", b"two"), ("b/3.jpg", b"three")]


def container(path: Path | str, **columns: Any) -> Container:
    source = open_source(str(path), Columns(**columns))
    assert isinstance(source, Container)
    return source


def labels(found: Found) -> list[str | None]:
    return [ref.label for ref, _ in found]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pa.table(columns), path, **options)
    return path


class TestParquet(ContainerContract):
    @pytest.fixture(params=["struct", "binary", "large_binary"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        contents: Any = [content for _, content in ROWS]
        kinds = {"binary": pa.binary(), "large_binary": pa.large_binary()}
        if request.param == "struct":
            image = pa.array([{"bytes": content, "path": name} for name, content in ROWS])
        else:
            image = pa.array(contents, kinds[request.param])
        table = {"image": image, "name": [name for name, _ in ROWS], "label": [0, 1, 1]}
        write(tmp_path / "0.parquet", table, row_group_size=2)
        return str(tmp_path / "0.parquet")

    @pytest.fixture
    def source(self, path: str) -> Container:
        return container(path, id_column="name")

    def test_examples_have_their_contents(self, source: Container) -> None:
        assert {ref.id: content for ref, content in read(source)} == dict(ROWS)
        assert labels(read(source)) == ["0", "1", "1"]


def test_a_data_set_of_hugging_face(tmp_path: Path) -> None:
    pixels = [photograph(20, 30, number) for number in range(4)]
    features = datasets.Features(
        {"image": datasets.Image(), "thumb": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}
    )
    content = {
        "image": [{"bytes": jpeg(array), "path": None} for array in pixels],
        "thumb": [None] * 4,
        "label": [0, 1, -1, 1],
    }
    datasets.Dataset.from_dict(content, features=features).to_parquet(str(tmp_path / "train-0.parquet"))
    source = container(tmp_path / "train-0.parquet", image_column="image")
    found = read(source)
    assert labels(found) == ["dog", "cat", None, "cat"]
    assert [ref.id for ref, _ in found] == [f"train-0.parquet/{number}" for number in range(4)]
    assert [content for _, content in found] == [jpeg(array) for array in pixels]
    assert source.vocabulary() == ["dog", "cat"]
    assert [piece.split for piece in source.pieces()] == ["train"]


def test_the_layout_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write(tmp_path / "data" / f"{name}.parquet", {"image": [b"x"], "label": ["a"]})
    (tmp_path / "README.md").write_text("x")
    assert [(piece.name, piece.split) for piece in container(tmp_path).pieces()] == [
        ("data/test-00000-of-00001.parquet", "test"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train-00001-of-00002.parquet", "train"),
    ]


def test_pandas_writes_missing_labels_as_floats(tmp_path: Path) -> None:
    pd.DataFrame({"img": [b"a", b"b", b"c"], "class": [1, None, 3]}).to_parquet(tmp_path / "0.parquet")
    assert labels(read(container(tmp_path / "0.parquet"))) == ["1", None, "3"]


def test_labels_that_make_no_sense_are_rows(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", {"image": [b"a", b"b"], "label": [True, False]})
    write(tmp_path / "1.parquet", {"image": [b"a", None], "label": pa.array(["x\ny", "z"]).dictionary_encode()})
    messages = [content.message for _, content in read(container(tmp_path)) if isinstance(content, ErrorRow)]
    assert messages == [
        "expected label to be text or a number, found True",
        "expected label to be text or a number, found False",
        "expected label to be one line of Unicode text, found 'x\\ny'",
        "expected bytes in image, found none; files that are named there are not read",
    ]


@pytest.mark.parametrize(
    ("columns", "named", "words"),
    [
        ({"a": [1]}, {}, "name it with --image_column"),
        ({"a": [b"x"], "b": [b"x"]}, {}, "name it with --image_column"),
        ({"images": [[b"x"]]}, {"image_column": "images"}, "lists of examples"),
        ({"image": [b"x"]}, {"image_column": "picture"}, "as --image_column says"),
        ({"image": [b"x"]}, {"label_column": "kind"}, "as --label_column says"),
    ],
    ids=["none", "two", "list", "no image column", "no label column"],
)
def test_columns_that_cannot_be_told_end_the_launch(
    tmp_path: Path, columns: dict[str, Any], named: dict[str, str], words: str
) -> None:
    write(tmp_path / "0.parquet", columns)
    with pytest.raises(InputError, match=words):
        container(tmp_path / "0.parquet", **named).check_examples(IMAGES)


def test_a_file_with_other_columns_is_a_row(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", {"image": [b"a", b"b"]})
    write(tmp_path / "1.parquet", {"number": [1, 2, 3]})
    container(tmp_path).check_examples(IMAGES)
    *_, (_, row) = found = read(container(tmp_path))
    assert len(found) == 3
    assert isinstance(row, ErrorRow)
    assert "3 rows are lost" in row.message


def test_texts_are_in_a_column_of_text(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", {"title": ["x", "y"], "text": ["a cat", "ä dog"], "label": ["cat", "dog"]})
    texts = example_files(TextModality)
    source = container(tmp_path / "0.parquet")
    found = [entry for piece in source.pieces() for entry in source.members(piece, texts)]
    assert [(ref.label, content) for ref, content in found] == [("cat", b"a cat"), ("dog", "ä dog".encode())]


def test_row_groups_are_pieces_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_job.inputs.containers.parquet._PIECE_BYTES", 50_000)
    contents = [random.Random(number).randbytes(5000) for number in range(40)]
    write(tmp_path / "0.parquet", {"image": contents}, row_group_size=4, compression="none")
    source = container(tmp_path / "0.parquet")
    places = [piece.place for piece in source.pieces()]
    assert len(places) == 5
    assert places == sorted(places)
    assert [content for _, content in read(source)] == contents
    assert len({ref.id for ref, _ in read(source)}) == 40
    assert [ref.id for ref, _ in read(source)] == [f"0.parquet/{number}" for number in range(40)]


def test_a_table_of_uris_is_a_manifest(tmp_path: Path) -> None:
    table = {
        "URI": ["a.jpg", "b.jpg", None],
        "label": [1.0, None, 2.0],
        "other": [[1], [2], [3]],
        "split": ["test"] * 3,
    }
    pd.DataFrame(table).to_parquet(tmp_path / "images.parquet")
    source = open_source(str(tmp_path / "images.parquet"))
    assert isinstance(source, Listing)
    assert source.check() == []
    one, two, three = source.refs(str(tmp_path / "images.parquet"), IMAGES)
    assert isinstance(one, ExampleRef)
    assert (one.id, one.uri, one.label, one.split) == ("a.jpg", f"{tmp_path}/a.jpg", "1", "test")
    assert isinstance(two, ExampleRef)
    assert two.label is None
    assert isinstance(three, ExampleRef)
    assert three.problem == "line 3: expected a uri, found none"


def test_damaged_parquet_files_give_rows(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    contents = [random.Random(number).randbytes(300) for number in range(30)]
    image = pa.array([{"bytes": content, "path": "x.jpg"} for content in contents])
    table = pa.table({"image": image, "label": [str(number % 3) for number in range(30)]})
    parquet.write_table(table, buffer, row_group_size=8, write_page_checksum=True)
    whole, rng, path = buffer.getvalue(), random.Random(0), tmp_path / "0.parquet"
    for number in range(1500):
        data = damaged(whole, rng, DAMAGES_OF_CONTAINERS)
        path.write_bytes(data)
        found = read(container(path))
        ids = [ref.id for ref, _ in found]
        assert len(set(ids)) == len(ids), number
        assert len(found) >= 30 or any(isinstance(content, ErrorRow) for _, content in found), number
