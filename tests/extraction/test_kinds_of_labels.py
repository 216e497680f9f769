"""Runs whose labels are lists or numbers, are renamed or chosen, and with columns that are carried to the output."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

import beam_job
from beam_job.core import naming
from beam_job.core.errors import BadReferenceError, BeamJobError, InputError, UsageError
from beam_job.core.labels import LabelKind, fitted
from beam_job.core.records import ExampleRef
from beam_job.extraction.limits import SmallestHashes
from tests.support.datasets import comparable_files, error_rows_of, records_of
from tests.support.images import jpeg, photograph
from tests.support.tars import write_tar
from tests.support.tfrecords import example

Options = dict[str, Any]
# Lists of labels, one of them empty, and None for an example without a list.
LISTS: list[list[str] | None] = [["cat"], ["dog", "cat"], [], None, ["eel"], ["cat", "eel", "dog"]]
SETS = [[0], [0, 1], [], [-1], [2], [0, 1, 2]]
NUMBERS = [0.5, 3, -2.25, None, 1e3, 7]


@pytest.fixture(scope="module")
def options(small_model: dict[str, str]) -> Options:
    return {**small_model, "engine": "openvino", "max_error_rate": 0.5}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs. Read only."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(jpeg(photograph(40, 40, number)))
    return folder


def jsonl(folder: Path, images: Path, rows: list[dict[str, Any]]) -> str:
    """A manifest of the images, in their order, with these further columns."""
    path = folder / "rows.jsonl"
    lines = [{"uri": str(images / f"{number}.jpg"), "id": str(number), **row} for number, row in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def fields_of(output: Path, name: str) -> list[Any]:
    """A field of the records, as TensorFlow reads them, in the order of their ids."""
    found = {}
    for path in sorted(output.glob("*.tfrecord")):
        for raw in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(raw.numpy()).features.feature
            kind = features[name].WhichOneof("kind")
            found[features["id"].bytes_list.value[0]] = list(getattr(features[name], kind).value)
    return [found[key] for key in sorted(found)]


def names_of(output: Path) -> list[str]:
    return (output / naming.LABELS).read_text().splitlines()


def check_sets(output: Path) -> None:
    """Checks what is stored for ``LISTS``."""
    assert names_of(output) == ["cat", "dog", "eel"]
    assert fields_of(output, "labels") == SETS
    assert beam_job.verify(str(output)).problems == ()
    run = json.loads((output / naming.RUN).read_text())
    assert run["label_type"] == "multi"
    assert run["splits"]["train"]["classes"] == {"cat": 3, "dog": 2, "eel": 2}
    assert run["splits"]["train"]["unlabelled"] == 1


def test_lists_of_labels(images: Path, tmp_path: Path, options: Options) -> None:
    manifest = jsonl(tmp_path, images, [{"label": label} for label in LISTS])
    result = beam_job.extract(manifest, str(tmp_path / "out"), **options)
    check_sets(tmp_path / "out")
    assert any("list of labels" in note for note in result.notes)
    loaded = {
        feature.tobytes(): label for feature, label in beam_job.load_features(str(tmp_path / "out")).as_numpy_iterator()
    }
    expected = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [-1, -1, -1], [0, 0, 1], [1, 1, 1]]
    for name, record in records_of(tmp_path / "out").items():
        assert loaded[np.asarray(record["feature"]).tobytes()].tolist() == expected[int(name)]


def test_tensorflow_datasets_reads_lists_and_numbers(images: Path, tmp_path: Path, options: Options) -> None:
    for kind, values in (("labels", LISTS), ("target", NUMBERS)):
        folder = tmp_path / kind
        folder.mkdir()
        rows = [{"label": value, "from": f"camera {number}"} for number, value in enumerate(values)]
        beam_job.extract(jsonl(folder, images, rows), str(folder / "out"), keep_columns="from", **options)
        builder = tfds.builder_from_directory(str(folder / "out"))
        assert builder.info.supervised_keys == ("feature", kind)
        found = {
            int(one["id"]): (one[kind], one["from"].decode())
            for one in builder.as_dataset(split="train").as_numpy_iterator()
        }
        assert [found[number][1] for number in range(6)] == [f"camera {number}" for number in range(6)]
        if kind == "labels":
            assert builder.info.features["labels"].feature.names == ["cat", "dog", "eel"]
            assert [found[number][0].tolist() for number in range(6)] == SETS
        else:
            assert [float(found[number][0]) for number in range(6) if number != 3] == [0.5, 3, -2.25, 1000, 7]
            assert math.isnan(found[3][0])


def test_lists_in_containers(images: Path, tmp_path: Path, options: Options) -> None:
    """The same lists in Parquet by datasets, in TFRecords, and in the .json of a tar file, with the same result."""
    contents = [(images / f"{number}.jpg").read_bytes() for number in range(6)]
    names = ["cat", "dog", "eel"]
    features = datasets.Features(
        {"image": datasets.Image(), "labels": datasets.Sequence(datasets.ClassLabel(names=names))}
    )
    rows = {
        "image": [{"bytes": content, "path": None} for content in contents],
        "labels": [label and [names.index(name) for name in label] if label is not None else None for label in LISTS],
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as writer:
        for content, label in zip(contents, LISTS, strict=True):
            writer.write(example(image=content, **({"labels": label} if label is not None else {})))
    members = []
    for number, (content, label) in enumerate(zip(contents, LISTS, strict=True)):
        members += [(f"{number}.jpg", content), (f"{number}.json", json.dumps({"tags": {"names": label}}).encode())]
    write_tar(tmp_path / "c.tar", members)
    for name, extra in (("a.parquet", {}), ("b.tfrecord", {}), ("c.tar", {"label_key": "tags.names"})):
        beam_job.extract(str(tmp_path / name), str(tmp_path / f"{name}.out"), **extra, **options)
        if name == "b.tfrecord":  # there, a list of one is like one, and an empty one like none
            assert fields_of(tmp_path / "b.tfrecord.out", "labels") == [[0], [0, 1], [-1], [-1], [2], [0, 1, 2]]
        else:
            check_sets(tmp_path / f"{name}.out")


class _Builder(tfds.core.GeneratorBasedBuilder):
    """A dataset of images with lists of classes."""

    VERSION = tfds.core.Version("1.0.0")
    contents: tuple[bytes, ...] = ()

    def _info(self) -> Any:
        classes = tfds.features.Sequence(tfds.features.ClassLabel(names=["cat", "dog", "eel"]))
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(None, None, 3)), "labels": classes}
            )
        )

    def _split_generators(self, dl_manager: Any) -> Any:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Any:
        for number, label in enumerate(LISTS):
            yield number, {"image": np.full((8, 8, 3), number, np.uint8), "labels": label or []}


def test_lists_of_tensorflow_datasets(tmp_path: Path, options: Options) -> None:
    builder = _Builder(data_dir=str(tmp_path))
    builder.download_and_prepare()
    beam_job.extract(str(builder.data_path), str(tmp_path / "out"), **options)
    assert names_of(tmp_path / "out") == ["cat", "dog", "eel"]
    assert sorted(fields_of(tmp_path / "out", "labels")) == sorted(
        [[], [], *(of for of in SETS if of not in ([], [-1]))]
    )


def test_numbers(images: Path, tmp_path: Path, options: Options) -> None:
    lines = ["uri,id,label", *(f"{images / f'{n}.jpg'},{n},{'' if v is None else v}" for n, v in enumerate(NUMBERS))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    result = beam_job.extract(str(tmp_path / "rows.csv"), str(tmp_path / "out"), **options)
    assert any("--label_type=class" in note for note in result.notes)
    found = [value for (value,) in fields_of(tmp_path / "out", "target")]
    np.testing.assert_array_equal(found, [np.nan if value is None else value for value in NUMBERS])
    assert names_of(tmp_path / "out") == []
    assert beam_job.verify(str(tmp_path / "out")).problems == ()
    assert result.splits["train"]["unlabelled"] == 1
    # As names of classes, if the user says so.
    beam_job.extract(str(tmp_path / "rows.csv"), str(tmp_path / "names"), label_type="class", **options)
    assert names_of(tmp_path / "names") == ["-2.25", "0.5", "1000.0", "3", "7"]


def test_whole_numbers_are_classes_unless_they_are_said_to_be_targets(
    images: Path, tmp_path: Path, options: Options
) -> None:
    manifest = jsonl(tmp_path, images, [{"label": number % 3} for number in range(6)])
    beam_job.extract(manifest, str(tmp_path / "a"), **options)
    assert fields_of(tmp_path / "a", "label") == [[0], [1], [2], [0], [1], [2]]
    beam_job.extract(manifest, str(tmp_path / "b"), label_type="target", **options)
    assert fields_of(tmp_path / "b", "target") == [[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]]


@pytest.mark.parametrize(
    ("labels", "label_type", "bad", "words"),
    [
        (["a", "b", ["a", "b"], "c", 0.5, "d"], "class", {"2", "4"}, "--label_type"),
        ([["a"], "b", 0.5, {"x": 1}, [["a"]], [None]], "multi", {"2", "3", "4", "5"}, "expected"),
        ([0.5, "7", "seven", [1], "1e99", "1_000"], "target", {"2", "3", "4", "5"}, "float32"),
        ([0.5, "a\nb", "\ud800", 3, True, "nan"], "auto", {"1", "2", "4"}, "expected"),
        (["a", " ", {"x": "y"}, "b", "c", "d"], "auto", {"1", "2"}, "expected"),
    ],
    ids=["class", "multi", "target", "auto", "blank"],
)
def test_a_label_of_another_kind_is_an_error_row(
    images: Path, tmp_path: Path, options: Options, labels: list[Any], label_type: str, bad: set[str], words: str
) -> None:
    manifest = jsonl(tmp_path, images, [{"label": label} for label in labels])
    given = {**options, "max_error_rate": 1.0, "label_type": label_type}
    result = beam_job.extract(manifest, str(tmp_path / "out"), **given)
    rows = error_rows_of(tmp_path / "out")
    lines = {f"rows.jsonl:{int(name) + 1}" for name in bad}
    assert set(rows) <= bad | lines
    assert len(rows) == len(bad)
    assert all(row["error"] == "BadReferenceError" for row in rows.values())
    assert any(words in row["message"] for row in rows.values())
    assert result.records + len(rows) == 6


def test_labels_that_do_not_occur_are_told(images: Path, tmp_path: Path, options: Options) -> None:
    """As with ImageNet's labels, which begin at 1."""
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for number in range(3):
            image = (images / f"{number}.jpg").read_bytes()
            writer.write(example(image__encoded=image, image__class__label=number + 1))
    result = beam_job.extract(str(tmp_path / "a.tfrecord"), str(tmp_path / "out"), **options)
    assert "1 of 4 labels do not occur: 0" in result.notes
    assert fields_of(tmp_path / "out", "label") == [[1], [2], [3]]


def test_labels_get_other_names(images: Path, tmp_path: Path, options: Options) -> None:
    manifest = jsonl(tmp_path, images, [{"label": f"n0{number % 3}"} for number in range(5)] + [{"label": "n9"}])
    maps = {
        "map.txt": "n00 house cat, tabby\nn01 dog\nn02 dog\n",
        "map.tsv": "n00\thouse cat, tabby\nn01\tdog\nn02\tdog\n",
        "map.csv": 'n00,"house cat, tabby"\nn01,dog\nn02,dog\n',
        "map.json": '{"n00": "house cat, tabby", "n01": "dog", "n02": "dog"}',
    }
    for name, content in maps.items():
        (tmp_path / name).write_text(content)
        out = tmp_path / f"{name}.out"
        beam_job.extract(manifest, str(out), label_map=str(tmp_path / name), **options)
        assert names_of(out) == ["dog", "house cat, tabby"]
        assert fields_of(out, "label") == [[1], [0], [0], [1], [0]]
        (row,) = error_rows_of(out).values()
        assert "one of the 3 labels in --label_map, found 'n9'" in row["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("only\n", "a label and its name in line 1"),
        ("a x\na y\n", "one name for each label"),
        ("", "found none"),
        (None, "no file"),
    ],
    ids=["half", "twice", "empty", "missing"],
)
def test_a_wrong_map_is_refused(images: Path, tmp_path: Path, options: Options, content: str, words: str) -> None:
    if content is not None:
        (tmp_path / "map.txt").write_text(content)
    with pytest.raises(InputError, match=words):
        beam_job.extract(str(images), str(tmp_path / "out"), label_map=str(tmp_path / "map.txt"), **options)
    assert not (tmp_path / "out").exists()


def test_only_some_classes(images: Path, tmp_path: Path, options: Options) -> None:
    manifest = jsonl(tmp_path, images, [{"label": label} for label in ("cat", "dog", "eel", "cat", None, "dog, small")])
    result = beam_job.extract(manifest, str(tmp_path / "a"), classes='cat,"dog, small"', **options)
    assert names_of(tmp_path / "a") == ["cat", "dog, small"]
    assert set(records_of(tmp_path / "a")) == {"0", "3", "5"}
    assert any("3 of other classes" in note for note in result.notes)
    with pytest.raises(BeamJobError, match="none of 'caat'; did you mean 'cat'"):
        beam_job.extract(manifest, str(tmp_path / "b"), classes="cat,caat", **options)
    lists = tmp_path / "lists"
    lists.mkdir()
    beam_job.extract(
        jsonl(lists, images, [{"label": label} for label in LISTS]), str(tmp_path / "c"), classes="dog,eel", **options
    )
    assert fields_of(tmp_path / "c", "labels") == [[0], [1], [0, 1]]


def test_classes_of_folders_in_a_tar_file(images: Path, tmp_path: Path, options: Options) -> None:
    """The folder that is the class is known before all others are, and damaged members stay rows."""
    places = ("all/cat/a/0.jpg", "all/cat/dog/1.jpg", "all/dog/2.jpg", "all/eel/3.jpg")
    members = [(place, (images / f"{number}.jpg").read_bytes()) for number, place in enumerate(places)]
    write_tar(tmp_path / "some.tar", [*members, ("all/../out.jpg", members[0][1])])
    beam_job.extract(str(tmp_path / "some.tar"), str(tmp_path / "a"), classes="cat", **options)
    assert names_of(tmp_path / "a") == ["cat"]
    assert set(records_of(tmp_path / "a")) == {f"some.tar/{place}" for place in places[:2]}
    assert len(error_rows_of(tmp_path / "a")) == 1
    found = beam_job.plan(str(tmp_path / "some.tar"), str(tmp_path / "dog"), classes="dog", **options)
    beam_job.extract(str(tmp_path / "some.tar"), str(tmp_path / "dog"), classes="dog", **options)
    assert set(records_of(tmp_path / "dog")) == {f"some.tar/{places[2]}"}, "the class is the folder below all"
    assert found.total == 2  # with the row
    (tmp_path / "map.csv").write_text("cat,mammal\ndog,mammal\neel,fish\n")
    beam_job.extract(str(tmp_path / "some.tar"), str(tmp_path / "b"), label_map=str(tmp_path / "map.csv"), **options)
    assert names_of(tmp_path / "b") == ["fish", "mammal"]
    assert beam_job.verify(str(tmp_path / "b")).problems == ()


def kept_of(output: Path, *names: str) -> list[tuple[str, ...]]:
    columns = [[value.decode() for (value,) in fields_of(output, name)] for name in names]
    return list(zip(*columns, strict=True))


def test_columns_are_carried_to_the_output(images: Path, tmp_path: Path, options: Options) -> None:
    values: list[dict[str, Any]] = [
        {"Name": "ä", "number": 3, "more": {"x": [1, "\ud800"]}},
        {"Name": None, "number": 2.5, "more": [True, "ö"]},
        {"Name": "", "number": 10**18, "more": None},
    ]
    expected = [("ä", "3", '{"x": [1, "\\ud800"]}'), ("", "2.5", '[true, "ö"]'), ("", "1000000000000000000", "")]
    manifest = jsonl(tmp_path, images, [{**value, "label": "a"} for value in values])
    given = {"keep_columns": "name,number,more", **options}
    beam_job.extract(manifest, str(tmp_path / "a"), **given)
    assert kept_of(tmp_path / "a", "name", "number", "more") == expected
    assert beam_job.verify(str(tmp_path / "a")).problems == ()
    members = []
    for number, value in enumerate(values):
        described = json.dumps({"meta": value}).encode()
        members += [(f"{number}.jpg", (images / f"{number}.jpg").read_bytes()), (f"{number}.json", described)]
    write_tar(tmp_path / "b.tar", members)
    beam_job.extract(str(tmp_path / "b.tar"), str(tmp_path / "b"), keep_columns="meta.Name,meta.number", **options)
    assert kept_of(tmp_path / "b", "meta.Name", "meta.number") == [row[:2] for row in expected]
    table = datasets.Dataset.from_dict(
        {
            "image": [(images / f"{number}.jpg").read_bytes() for number in range(3)],
            "number": [3, 4, 5],
            "words": [["a", "b"], [], None],
        }
    )
    table.to_parquet(tmp_path / "c.parquet")
    beam_job.extract(str(tmp_path / "c.parquet"), str(tmp_path / "c"), keep_columns="number,words", **options)
    assert kept_of(tmp_path / "c", "number", "words") == [("3", '["a", "b"]'), ("4", "[]"), ("5", "")]
    with tf.io.TFRecordWriter(str(tmp_path / "d.tfrecord")) as writer:
        for number in range(2):
            image = (images / f"{number}.jpg").read_bytes()
            writer.write(example(image=image, image__filename=f"{number}.jpg", box=[0.5, 1.0]))
    beam_job.extract(str(tmp_path / "d.tfrecord"), str(tmp_path / "d"), keep_columns="image/filename,box", **options)
    assert kept_of(tmp_path / "d", "image/filename", "box") == [("0.jpg", "[0.5, 1.0]"), ("1.jpg", "[0.5, 1.0]")]
    assert tfds.builder_from_directory(str(tmp_path / "d")).info.features["image"]["filename"] is not None


def test_kept_columns_that_cannot_be_kept(images: Path, tmp_path: Path, options: Options) -> None:
    manifest = jsonl(tmp_path, images, [{"label": "a", "feature": 1}])
    with pytest.raises(InputError, match="as --keep_columns says, found uri, id, label, feature"):
        beam_job.extract(manifest, str(tmp_path / "out"), keep_columns="nmae", **options)
    with pytest.raises(UsageError, match="records have a field of that name"):
        beam_job.extract(manifest, str(tmp_path / "out"), keep_columns="feature", **options)
    with pytest.raises(InputError, match="--keep_columns goes with"):
        beam_job.extract(str(images), str(tmp_path / "out"), keep_columns="name", **options)


@pytest.mark.parametrize("labels", [LISTS, NUMBERS], ids=["lists", "numbers"])
def test_a_run_is_resumed_with_other_labels_and_columns(
    images: Path, tmp_path: Path, options: Options, labels: list[Any], batch_sizes: list[int]
) -> None:
    """Features are kept, whatever happens to labels and columns; the result is that of a run from the start."""

    def rows(shift: int) -> list[dict[str, Any]]:
        return [{"label": labels[(place + shift) % 6], "name": f"{shift}"} for place in range(6)]

    jsonl(tmp_path, images, rows(0))
    out = tmp_path / "out"
    beam_job.extract(str(tmp_path / "rows.jsonl"), str(out), keep_columns="name", **options)
    batch_sizes.clear()
    jsonl(tmp_path, images, rows(1))
    again = {**options, "keep_columns": "name"}
    result = beam_job.extract(str(tmp_path / "rows.jsonl"), str(out), resume=True, **again)
    assert result.extracted == 0
    assert not batch_sizes
    beam_job.extract(str(tmp_path / "rows.jsonl"), str(tmp_path / "fresh"), **again)
    assert comparable_files(out) == comparable_files(tmp_path / "fresh")
    # Other columns, and another kind of label, by which files come and go.
    jsonl(tmp_path, images, [{"label": f"l{place % 2}", "name": "x", "city": "y"} for place in range(6)])
    for columns in ("city,name", None):
        again = {**options, **({"keep_columns": columns} if columns else {})}
        batch_sizes.clear()
        assert beam_job.extract(str(tmp_path / "rows.jsonl"), str(out), resume=True, **again).extracted == 0
        assert not batch_sizes
        shutil.rmtree(tmp_path / "fresh")
        beam_job.extract(str(tmp_path / "rows.jsonl"), str(tmp_path / "fresh"), **again)
        assert comparable_files(out) == comparable_files(tmp_path / "fresh")
        assert beam_job.verify(str(out)).problems == ()


def test_pieces_are_settled_with_lists(images: Path, tmp_path: Path, options: Options) -> None:
    """Two tar files whose classes are numbered differently, with a vocabulary that lacks one of them."""

    def tar(name: str, labels: Mapping[str, list[str]]) -> None:
        members = []
        for key, label in labels.items():
            members += [
                (f"{key}.jpg", (images / f"{key}.jpg").read_bytes()),
                (f"{key}.json", json.dumps({"classes": label}).encode()),
            ]
        write_tar(tmp_path / name, members)

    tar("0.tar", {"0": ["eel", "dog"], "1": ["cat"]})
    tar("1.tar", {"2": ["cat", "eel"], "3": []})
    (tmp_path / "labels.txt").write_text("eel\ncat\n")
    given = {"label_key": "classes", **options}
    beam_job.extract(str(tmp_path / "*.tar"), str(tmp_path / "a"), **given)
    assert fields_of(tmp_path / "a", "labels") == [[1, 2], [0], [0, 2], []]
    beam_job.extract(str(tmp_path / "*.tar"), str(tmp_path / "b"), labels=str(tmp_path / "labels.txt"), **given)
    assert fields_of(tmp_path / "b", "labels") == [[1], [0, 1], []]
    (row,) = error_rows_of(tmp_path / "b").values()
    assert (row["id"], row["error"]) == ("0.tar/0.jpg", "UnknownLabelError")
    assert beam_job.verify(str(tmp_path / "b")).problems == ()


def test_at_most_so_many_of_each_class(images: Path, tmp_path: Path, options: Options) -> None:
    """From a manifest, from class folders and from tar files; those that are taken do not depend on the others."""
    content = (images / "0.jpg").read_bytes()
    root = tmp_path / "photos"
    for split, count in (("train", 12), ("test", 3)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count if name == "cat" else 2):
                (folder / f"{number}.jpg").write_bytes(content)
    (root / "train" / "cat" / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    files = [path for path in sorted(root.rglob("*.jpg")) if path.name != "bad.jpg"]
    write_tar(tmp_path / "0.tar", [(str(path.relative_to(tmp_path)), path.read_bytes()) for path in files[::2]])
    write_tar(tmp_path / "1.tar", [(str(path.relative_to(tmp_path)), path.read_bytes()) for path in files[1::2]])
    rows = "\n".join(f"{path},{path.parent.name},{path.parent.parent.name}" for path in files)
    (tmp_path / "rows.csv").write_text(f"uri,label,split\n{rows}")
    for number, source in enumerate((str(root), str(tmp_path / "rows.csv"), str(tmp_path / "*.tar"))):
        out = tmp_path / f"{number}"
        found = beam_job.plan(source, str(out), max_per_class=4, **options)
        result = beam_job.extract(source, str(out), max_per_class=4, **options)
        assert names_of(out) == ["cat", "dog"]
        taken = records_of(out)
        counts = Counter((record["split"], record["label"]) for record in taken.values())
        bad = sum(row["id"].endswith("bad.jpg") for row in error_rows_of(out).values())
        assert counts == {("train", 0): 4 - bad, ("train", 1): 2, ("test", 0): 3, ("test", 1): 2}
        assert any(f"{9 if number == 0 else 8} beyond --max_per_class" in note for note in result.notes)
        assert found.total == result.examples == 11
        assert dict(found.examples) == {split: content["examples"] for split, content in result.splits.items()}
        more = beam_job.extract(source, str(tmp_path / f"{number}-more"), max_per_class=6, **options)
        assert set(taken) <= set(records_of(tmp_path / f"{number}-more"))
        assert more.examples == 13
        again = beam_job.extract(source, str(out), max_per_class=4, resume=True, **options)
        assert again.extracted == 0
    lists = jsonl(tmp_path, images, [{"label": label} for label in LISTS])
    with pytest.raises(UsageError, match="--max_per_class is for examples of one class"):
        beam_job.extract(lists, str(tmp_path / "lists"), max_per_class=4, **options)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), unique=True), st.integers(1, 5), st.integers(0, 9)
)
def test_limits_do_not_depend_on_the_order_and_the_parts(found: list[tuple[str, int]], limit: int, cut: int) -> None:
    refs = [ExampleRef(f"{label}{number}", "/x", label=label, split="train") for label, number in found]
    whole, parts = SmallestHashes(limit), [SmallestHashes(limit), SmallestHashes(limit)]
    for place, ref in enumerate(refs):
        whole.add(ref)
        parts[place < cut].add(ref)
    parts[0].merge(parts[1])
    limits = parts[0].limits()
    assert limits == whole.limits()
    counts = Counter(ref.label for ref in refs if limits.takes(ref))
    assert counts == {label: min(limit, count) for label, count in Counter(ref.label for ref in refs).items()}


def test_folders_of_numbers_are_classes(images: Path, tmp_path: Path, options: Options) -> None:
    content = (images / "0.jpg").read_bytes()
    write_tar(tmp_path / "a.tar", [(f"{place}/a.jpg", content) for place in ("train/0.5", "train/2.0", "test/0.5")])
    write_tar(tmp_path / "b.tar", [(f"{place}/a.jpg", content) for place in ("0.5", "2.0")])
    for name in ("a", "b"):
        beam_job.extract(str(tmp_path / f"{name}.tar"), str(tmp_path / name), **options)
        assert names_of(tmp_path / name) == ["0.5", "2.0"]


@pytest.mark.parametrize("names", ["a\nb", "a,a", "a,"], ids=["line", "twice", "empty"])
def test_names_that_are_none(images: Path, tmp_path: Path, options: Options, names: str) -> None:
    with pytest.raises(UsageError, match="--classes is written NAME"):
        beam_job.extract(str(images), str(tmp_path / "out"), classes=names, **options)


@pytest.mark.parametrize("text", ["3.4028235e38", "-3.4028234663852886e38", "3.4028236e38", "1e39"])
def test_a_number_is_what_float32_can_hold(text: str) -> None:
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.float32(text))
    if finite:
        assert np.isfinite(np.float32(fitted(text, LabelKind.TARGET)))
    else:
        with pytest.raises(BadReferenceError, match="float32 can hold"):
            fitted(text, LabelKind.TARGET)
