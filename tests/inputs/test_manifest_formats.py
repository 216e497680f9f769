"""Manifests as other tools write them: Vertex AI, Hugging Face's imagefolder, COCO."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

import beam_job
from beam_job.core.errors import InputError
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.core.values import Names
from beam_job.inputs.base import Columns, ExampleFiles, Listing, all_entries
from beam_job.inputs.selection import open_source
from tests.support.datasets import error_rows_of, records_of
from tests.support.images import jpeg, photograph
from tests.support.web import serve_web

IMAGES = ExampleFiles(frozenset({".jpg", ".png"}), lambda head: head.startswith(b"\xff\xd8"))
TEXTS = ExampleFiles(frozenset({".txt"}), lambda head: True, texts=True)


def entries(path: Path | str, files: ExampleFiles = IMAGES, **columns: Any) -> list[ExampleRef | PassedOver]:
    source = open_source(str(path), Columns(**columns))
    assert isinstance(source, Listing)
    source.check()
    return list(all_entries(source, files))


def refs(path: Path | str, files: ExampleFiles = IMAGES, **columns: Any) -> list[ExampleRef]:
    return [entry for entry in entries(path, files, **columns) if isinstance(entry, ExampleRef)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photographs."""
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(photograph(40, 40, number)))
    return tmp_path


def test_a_csv_of_vertex_ai(tmp_path: Path) -> None:
    rows = (
        "training,gs://bucket/one.jpg,daisy",
        "gs://bucket/two.jpg,tulip,rose",
        '"TEST","gs://bucket/a b, c.jpg"',
        "UNASSIGNED,gs://bucket/four.jpg,daisy",
        "validation,gs://bucket/five.jpg,,",
        "",
        ",gs://bucket/six.jpg,daisy",
    )
    (tmp_path / "import.csv").write_text("\n".join(rows))
    assert [(ref.uri.rpartition("/")[2], ref.split, ref.label) for ref in refs(tmp_path / "import.csv")] == [
        ("one.jpg", "train", "daisy"),
        ("two.jpg", None, ("tulip", "rose")),
        ("a b, c.jpg", "test", None),
        ("four.jpg", None, "daisy"),
        ("five.jpg", "validation", None),
        ("six.jpg", None, "daisy"),
    ]
    (tmp_path / "boxes.csv").write_text('gs://b/a.jpg,cat,0.1,0.1,,,0.9,0.9,,\ngs://b/b.jpg,"cat\n')
    assert [(ref.problem or "").partition(",")[0] for ref in refs(tmp_path / "boxes.csv")] == [
        "line 1: expected labels",
        "line 2: expected a row of CSV",
    ]


def test_a_jsonl_of_vertex_ai(tmp_path: Path) -> None:
    use = {"aiplatform.googleapis.com/ml_use": "training"}
    one = {
        "imageGcsUri": "gs://bucket/one.jpg",
        "classificationAnnotation": {"displayName": "daisy", "annotationResourceLabels": {"x": "y"}},
        "dataItemResourceLabels": use,
    }
    many = {
        "imageGcsUri": "gs://bucket/two.jpg",
        "classificationAnnotations": [{"displayName": "daisy"}, {"displayName": "tulip"}],
        "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": "test"},
    }
    nothing = {"imageGcsUri": "gs://bucket/three.jpg"}
    odd = {"imageGcsUri": "gs://bucket/four.jpg", "classificationAnnotations": 5}
    (tmp_path / "import.jsonl").write_text("\n".join(map(json.dumps, (one, many, nothing, odd))))
    assert refs(tmp_path / "import.jsonl")[3].problem is not None
    assert [(ref.uri, ref.split, ref.label) for ref in refs(tmp_path / "import.jsonl")[:3]] == [
        ("gs://bucket/one.jpg", "train", "daisy"),
        ("gs://bucket/two.jpg", "test", ("daisy", "tulip")),
        ("gs://bucket/three.jpg", None, None),
    ]
    text = {"textContent": "it is good", "classificationAnnotation": {"displayName": "pos"}}
    (tmp_path / "texts.jsonl").write_text(json.dumps(text))
    assert [(ref.text, ref.label) for ref in refs(tmp_path / "texts.jsonl", TEXTS)] == [("it is good", "pos")]


def hugging_face(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        place = folder / row["file_name"]
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(photograph(40, 40, number)).save(place)
    table = pd.DataFrame(rows)
    if suffix == "csv":
        table.to_csv(folder / "metadata.csv", index=False)
    elif suffix == "jsonl":
        table.to_json(folder / "metadata.jsonl", orient="records", lines=True)
    else:
        table.to_parquet(folder / "metadata.parquet")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_imagefolder_is_what_datasets_loads(tmp_path: Path, suffix: str, small_model: dict[str, str]) -> None:
    rows = [{"file_name": f"sub/{number}.png", "label": f"l{number % 2}", "city": f"c{number}"} for number in range(3)]
    for split in ("train", "test"):
        hugging_face(tmp_path / "data" / split, suffix, rows if split == "train" else rows[:2])
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    expected = {(split, row["city"], row["label"]) for split in loaded for row in loaded[split].remove_columns("image")}
    found = refs(tmp_path / "data")
    assert {(ref.split, f"c{Path(ref.uri).stem}", ref.label) for ref in found} == expected
    assert [ref.id for ref in found] == [f"test/sub/{n}.png" for n in (0, 1)] + [
        f"train/sub/{n}.png" for n in (0, 1, 2)
    ]
    result = beam_job.extract(str(tmp_path / "data"), str(tmp_path / "out"), keep_columns="city", **small_model)
    assert result.records == 5
    assert any("rows of test/metadata" in note for note in result.notes)
    assert set(records_of(tmp_path / "out")) == {ref.id for ref in found}


def test_files_of_an_imagefolder_without_a_row_are_counted(photos: Path) -> None:
    (photos / "metadata.csv").write_text("file_name,label\n0.jpg,a\n1.jpg,b\nmissing.jpg,a\n")
    found = entries(photos)
    assert [entry.id for entry in found if isinstance(entry, ExampleRef)] == ["0.jpg", "1.jpg", "missing.jpg"]
    assert [entry.kind for entry in found if isinstance(entry, PassedOver)] == ["without a row in metadata.csv"] * 2


def test_a_split_without_metadata_is_not_left_out(tmp_path: Path) -> None:
    hugging_face(tmp_path / "train", "csv", [{"file_name": "./a.png", "label": "x"}])
    assert len(entries(tmp_path)) == 1
    (tmp_path / "test").mkdir()
    with pytest.raises(InputError, match=r"found train/metadata\.csv and none in test"):
        refs(tmp_path)


def test_a_table_with_bytes_is_no_manifest(tmp_path: Path) -> None:
    table = {"image": [{"bytes": b"x", "path": "a"}], "file_name": ["a.png"]}
    pd.DataFrame(table).to_parquet(tmp_path / "a.parquet")
    assert not isinstance(open_source(str(tmp_path / "a.parquet")), Listing)


def coco(folder: Path, images: dict[int, str], shown: list[tuple[int, int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "info": {"year": 2017},
        "images": [{"id": key, "file_name": name, "height": 40, "width": 40} for key, name in images.items()],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": [1, 2, 10, 20],
                "segmentation": [[1.0, 2.0, 3.0, 4.0]],
                "iscrowd": 0,
            }
            for number, (image, category) in enumerate(shown)
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}],
    }
    path = folder / "instances_val2017.json"
    path.write_text(json.dumps(content))
    return path


def test_annotations_of_coco(tmp_path: Path, small_model: dict[str, str]) -> None:
    photographs = tmp_path / "val2017"
    photographs.mkdir()
    for number in range(4):
        (photographs / f"{number}.jpg").write_bytes(jpeg(photograph(40, 40, number)))
    path = coco(
        tmp_path / "annotations",
        {139: "0.jpg", 285: "1.jpg", 632: "2.jpg", 724: "3.jpg"},
        [(139, 17), (139, 18), (139, 17), (285, 1), (632, 18)],
    )
    found = refs(path)
    assert [(ref.id, ref.uri, ref.label) for ref in found] == [
        ("0.jpg", str(photographs / "0.jpg"), ("cat", "dog")),
        ("1.jpg", str(photographs / "1.jpg"), ("person",)),
        ("2.jpg", str(photographs / "2.jpg"), ("dog",)),
        ("3.jpg", str(photographs / "3.jpg"), ()),
    ]
    assert [ref.id for ref in refs(path, id_column="image_id")] == ["139", "285", "632", "724"]
    beam_job.extract(str(path), str(tmp_path / "out"), **small_model)
    assert (tmp_path / "out/label.labels.txt").read_text().split() == ["person", "cat", "dog"]
    assert beam_job.verify(str(tmp_path / "out")).problems == ()
    (tmp_path / "elsewhere").mkdir()
    for path_of_one in photographs.iterdir():
        path_of_one.rename(tmp_path / "elsewhere" / path_of_one.name)
    assert refs(path, root=str(tmp_path / "elsewhere"))[0].uri == str(tmp_path / "elsewhere" / "0.jpg")


def test_an_export_of_coco_with_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        path = coco(tmp_path / split, {1: "0.jpg"}, [(1, 17)])
        path.rename(path.with_name("_annotations.coco.json"))
        (tmp_path / split / "0.jpg").write_bytes(jpeg(photograph(40, 40, 0)))
    assert [(ref.id, ref.split, ref.label) for ref in refs(tmp_path)] == [
        ("train/0.jpg", "train", ("cat",)),
        ("valid/0.jpg", "valid", ("cat",)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        '{"images": []}',
        "[1]",
        "{",
        '{"images": [], "annotations": [{"image_id": 1, "category_id": 3}], "categories": []}',
        '{"images": 5, "annotations": [], "categories": []}',
    ],
    ids=["parts", "list", "cut", "category", "images"],
)
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match="Expected the annotations of COCO"):
        refs(tmp_path / "x.json")


def test_columns_of_a_manifest_that_are_called_otherwise(photos: Path) -> None:
    (photos / "a.csv").write_text("photo,kind,key,more\n0.jpg,x,one,1\n1.jpg,y,two,2\n")
    found = refs(photos / "a.csv", image_column="Photo", label_column="kind", id_column="key")
    assert [(ref.id, Path(ref.uri).name, ref.label) for ref in found] == [("one", "0.jpg", "x"), ("two", "1.jpg", "y")]
    (photos / "b.csv").write_text("path,category\n0.jpg,x\n")
    # The column is the same one for all rows, whichever of them have it.
    rows = [{"uri": "0.jpg", "label": "cat", "category": "animal"}, {"uri": "1.jpg", "category": "animal"}]
    (photos / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [ref.label for ref in refs(photos / "d.jsonl")] == ["cat", None]
    (photos / "e.csv").write_text("uri,category,label\n0.jpg,animal,cat\n1.jpg,animal\n")
    assert [ref.label for ref in refs(photos / "e.csv")] == ["cat", None]
    source = open_source(str(photos / "b.csv"))
    assert source.check() == ["the column 'path' is taken as the paths", "the column 'category' is taken as the label"]
    (photos / "c.csv").write_text("path,filename\n0.jpg,x\n")
    with pytest.raises(InputError, match="name the column that holds the paths with --image_column"):
        refs(photos / "c.csv")
    with pytest.raises(InputError, match="Expected a column 'knid' in the manifest"):
        refs(photos / "a.csv", image_column="photo", label_column="knid")


def test_the_root_of_relative_paths(photos: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "a.csv").write_text(f"uri,label\n0.jpg,x\n{photos / '1.jpg'},y\n")
    assert [(ref.id, ref.uri) for ref in refs(lists / "a.csv", root=str(photos))] == [
        ("0.jpg", str(photos / "0.jpg")),
        ("1.jpg", str(photos / "1.jpg")),
    ]
    with pytest.raises(InputError, match="--root goes with a manifest"):
        refs(photos, root=str(photos))


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole"])
def test_examples_on_a_web_server(tmp_path: Path, small_model: dict[str, str], ranges: bool) -> None:
    """A manifest there, with paths relative to it, and containers: the same features as from the disk."""
    root = tmp_path / "photos"
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(3):
            (root / label / f"{number}.jpg").write_bytes(jpeg(photograph(40, 40, number + len(label))))
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.jpg"))]
    (root / "rows.csv").write_text("\n".join(["uri,label", *rows, "missing.jpg,cat"]))
    for kind, base in (("tar", "gztar"), ("zip", "zip")):
        made = shutil.make_archive(str(tmp_path / f"0{kind}"), base, root)
        shutil.move(made, root / f"set-0.{'tar.gz' if kind == 'tar' else kind}")
    table = {"image": [path.read_bytes() for path in sorted(root.rglob("*.jpg"))], "label": ["cat"] * 3 + ["dog"] * 3}
    pd.DataFrame(table).to_parquet(root / "set-0.parquet")
    files: dict[str, bytes | str] = {f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*.*")}
    options = {**small_model, "max_error_rate": 0.5}
    with serve_web(files) as web:
        web.ranges = ranges
        for name in ("rows.csv", "set-{0..0}.tar.gz", "set-0.zip", "set-0.parquet?token=1"):
            plain = name.partition("?")[0].replace("{0..0}", "0")
            beam_job.extract(f"{web.url}/{name}", str(tmp_path / plain), **options)
            beam_job.extract(str(root / plain), str(tmp_path / f"{plain}-disk"), **options)
            found, expected = records_of(tmp_path / plain), records_of(tmp_path / f"{plain}-disk")
            assert len(found) == 6
            assert set(found) == set(expected)
            for key, record in expected.items():
                np.testing.assert_array_equal(found[key]["feature"], record["feature"])
                assert found[key]["label"] == record["label"]
        assert len(error_rows_of(tmp_path / "rows.csv")) == 1
        assert web.secrets == []
        asked = [(path, part) for method, path, part in web.requests if method == "GET" and "set-0" in path]
        assert any(part for _, part in asked) == ranges or not ranges
        rows_id = refs(f"{web.url}/rows.csv?token=a/b")[0].id
        assert rows_id == "cat/0.jpg"
        with pytest.raises(InputError, match="There is no file at"):
            beam_job.extract(f"{web.url}/no.tar", str(tmp_path / "no"), **options)


def test_boxes_of_coco_are_examples(tmp_path: Path) -> None:
    """The features of a crop are those of the same part of the decoded image, also of one that is turned."""
    pixels = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), tf.keras.layers.Flatten()])
    pixels.save(tmp_path / "pixels.keras")
    photographs = [photograph(60, 48, number) for number in range(2)]
    for number, pixels_of_one in enumerate(photographs):
        Image.fromarray(pixels_of_one).save(tmp_path / f"{number}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(photographs[0]).save(tmp_path / "2.jpg", quality=95, exif=turned)
    boxes = {
        "0.png": [(1, 2, 10, 20), (0.4, 0.6, 7.5, 7.5), (40, 30, 100, 100)],
        "1.png": [(5, 5, 8, 8), (200, 5, 8, 8), (5.5, 5.5, 0, 0), "odd", "odd", "crowd"],
        "2.jpg": [(1, 2, 10, 20)],
    }
    images = [{"id": number, "file_name": name} for number, name in enumerate(boxes)]
    annotations = []
    for number, found in enumerate(boxes.values()):
        for box in found:
            bad = isinstance(box, str)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": len(annotations) % 2,
                    "bbox": [1, 2, 3] if bad else list(box),
                    "iscrowd": int(box == "crowd"),
                }
            )
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    result = beam_job.extract(
        str(path),
        str(tmp_path / "out"),
        crops=True,
        model=str(tmp_path / "pixels.keras"),
        input_range="0,255",
        max_error_rate=0.9,
        splits="train=0.5,test=0.5",
    )
    assert any("1 boxes around a crowd" in note for note in result.notes)
    found = records_of(tmp_path / "out")
    errors = error_rows_of(tmp_path / "out")
    assert set(found) == {"0.png/0", "0.png/1", "0.png/2", "1.png/3", "2.jpg/9"}
    assert {row["message"].partition(",")[0] for row in errors.values()} == {
        "expected a box within the image of 48x60 pixels",
        "line 9: expected a box of x",
        "line 8: expected a box of x",
    }
    upright = np.rot90(tf.io.decode_jpeg((tmp_path / "2.jpg").read_bytes()).numpy(), -1)
    parts = {
        "0.png/0": photographs[0][2:22, 1:11],
        "0.png/1": photographs[0][0:9, 0:8],
        "0.png/2": photographs[0][30:, 40:],
        "1.png/3": photographs[1][5:13, 5:13],
        "2.jpg/9": upright[2:22, 1:11],
    }
    for name, part in parts.items():
        expected = tf.image.resize(part, (8, 8)).numpy().ravel()
        np.testing.assert_allclose(found[name]["feature"], expected, atol=1e-3)
    assert len({found[f"0.png/{number}"]["split"] for number in range(3)}) == 1, "an image is in one split"
    assert found["0.png/1"]["label"] == 1
    page = Path(beam_job.report(str(tmp_path / "out")).report).read_text()
    assert page.count("data:image/jpeg") >= 5
    with pytest.raises(InputError, match="--crops goes with annotations of COCO"):
        beam_job.extract(str(tmp_path), str(tmp_path / "no"), crops=True)


def test_what_is_wrong_with_a_csv_is_told_line_by_line(photos: Path) -> None:
    """A quote that is not closed takes all lines after it, each of which is an example that is lost."""
    rows = ["uri,label", "0.jpg,a", '1.jpg,"b', "2.jpg,c", "3.jpg,d"]
    (photos / "a.csv").write_text("\n".join(rows))
    found = refs(photos / "a.csv")
    assert [ref.id for ref in found] == ["0.jpg", "a.csv:3", "a.csv:4", "a.csv:5"]
    assert all("from line 3 on" in str(ref.problem) for ref in found[1:])
    (photos / "b.csv").write_text("\n\nuri,label\n0.jpg,a\n1.jpg,a,b\n")
    assert [(ref.id, ref.label) for ref in refs(photos / "b.csv")] == [("0.jpg", "a"), ("b.csv:5", None)]
    (photos / "c.csv").write_text("uri,Label,label\n0.jpg,a,b\n")
    with pytest.raises(InputError, match="every column of a manifest once, found 'label' twice"):
        refs(photos / "c.csv")
    deep = "[" * 100_000 + "]" * 100_000
    lines = ['{"uri": "0.jpg", "label": "a"}', f'{{"uri": "1.jpg", "label": {deep}}}', '{"uri": "2.jpg", "Uri": "x"}']
    (photos / "d.jsonl").write_text("\n".join(lines))
    assert [ref.problem is None for ref in refs(photos / "d.jsonl")] == [True, False, False]


def test_annotations_that_belong_nowhere_are_counted(tmp_path: Path) -> None:
    path = coco(tmp_path, {1: "0.jpg"}, [(1, 17), (2, 17), (3, 18)])
    found = entries(path)
    assert [entry.kind for entry in found if isinstance(entry, PassedOver)] == ["annotations of no image"] * 2
    assert [ref.label for ref in refs(path)] == [("cat",)]


def test_bytes_that_are_not_utf_8_are_kept_readable(photos: Path) -> None:
    (photos / "a.csv").write_bytes(b"uri,label,city\n0.jpg,a,Z\xfcrich\n")
    assert [ref.kept for ref in refs(photos / "a.csv", keep_columns=Names(("city",)))] == [("Z\\xfcrich",)]
