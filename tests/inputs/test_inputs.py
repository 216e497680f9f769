import json
import os
from pathlib import Path

import pytest

from beam_job.core.errors import InputError
from beam_job.inputs.selection import open_source
from tests.inputs.contract import SourceContract, list_refs
from tests.support.bucket import Bucket

FILES = {"a/1.jpg": b"one", "b/2.png": b"two", "c/deep/3.JPEG": b"three"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def bucket_root(bucket: Bucket, tmp_path: Path) -> str:
    for name, content in FILES.items():
        bucket.write(f"{tmp_path.name}/{name}", content)
    return bucket.url(tmp_path.name)


class TestClassFolders(SourceContract):
    @pytest.fixture
    def path(self, root: Path) -> str:
        return str(root)

    def test_labels_are_the_first_folder(self, root: Path) -> None:
        (root / "loose.jpg").write_bytes(b"x")
        labels = {ref.id: ref.label for ref in list_refs(open_source(str(root)))}
        assert labels == {"a/1.jpg": "a", "b/2.png": "b", "c/deep/3.JPEG": "c", "loose.jpg": None}

    def test_hidden_files_and_other_suffixes_are_ignored(self, root: Path) -> None:
        for name in ("a/.hidden.jpg", ".git/x.jpg", "a/.cache/x.jpg", "a/notes.txt", "README.md", "a/noSuffix"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(b"x")
        assert len(list_refs(open_source(str(root)))) == 3

    def test_names_that_are_not_utf_8(self, root: Path) -> None:
        Path(os.fsdecode(bytes(root / "a") + b"/\xff.jpg")).write_bytes(b"x")
        refs = {ref.id: ref.uri for ref in list_refs(open_source(str(root)))}
        assert Path(refs[r"a/\xff.jpg"]).read_bytes() == b"x"


class TestClassFoldersInABucket(SourceContract):
    @pytest.fixture
    def path(self, bucket_root: str) -> str:
        return bucket_root

    def test_labels_are_the_first_folder(self, bucket_root: str) -> None:
        assert [ref.label for ref in list_refs(open_source(bucket_root))] == ["a", "b", "c"]


class TestGlob(SourceContract):
    @pytest.fixture
    def path(self, root: Path) -> str:
        return str(root / "**")

    def test_there_are_no_labels(self, root: Path) -> None:
        assert {ref.label for ref in list_refs(open_source(str(root / "**")))} == {None}

    def test_only_matching_files_are_listed(self, root: Path) -> None:
        assert [ref.id for ref in list_refs(open_source(str(root / "a/*.jpg")))] == ["1.jpg"]

    def test_a_single_file(self, root: Path) -> None:
        assert [ref.id for ref in list_refs(open_source(str(root / "a/1.jpg")))] == ["1.jpg"]


class TestGlobInABucket(SourceContract):
    @pytest.fixture
    def path(self, bucket_root: str) -> str:
        return f"{bucket_root}/**"


class TestCsvManifest(SourceContract):
    @pytest.fixture
    def path(self, root: Path) -> str:
        (root / "images.csv").write_text("uri,label\na/1.jpg,x\nb/2.png,y\nc/deep/3.JPEG,\n")
        return str(root / "images.csv")


class TestJsonlManifestInABucket(SourceContract):
    @pytest.fixture
    def path(self, bucket: Bucket, bucket_root: str, tmp_path: Path) -> str:
        lines = "".join(json.dumps({"uri": name}) + "\n" for name in FILES)
        return bucket.write(f"{tmp_path.name}/images.jsonl", lines.encode())


def test_all_columns_of_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "images.jsonl"
    rows = [
        {"uri": "a.jpg", "label": 3, "id": "first", "split": "test", "group": 17, "other": None},
        {"uri": "gs://bucket/b.jpg", "label": "", "id": None},
        {"uri": "/elsewhere/c.jpg"},
    ]
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    relative, remote, absolute = open_source(str(path)).refs(str(path), ())
    assert (relative.id, relative.uri) == ("first", str(tmp_path / "a.jpg"))
    assert (relative.label, relative.split, relative.group) == ("3", "test", "17")
    assert (remote.id, remote.uri, remote.label) == ("gs://bucket/b.jpg", "gs://bucket/b.jpg", None)
    assert (absolute.id, absolute.uri) == ("/elsewhere/c.jpg", "/elsewhere/c.jpg")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "expected a JSON object, found"),
        ("[1]", "expected a JSON object, found list"),
        ('{"label": "x"}', "expected a uri, found none"),
        ('{"uri": 3.5}', "expected uri to be text or an integer, found 3.5"),
        ('{"uri": "a.jpg", "label": true}', "expected label to be text or an integer, found True"),
        ('{"uri": "a.jpg", "split": "a/b"}', "expected a split of letters, digits and underscores, found 'a/b'"),
        (r'{"uri": "a.jpg", "label": "\ud800"}', "expected label to be Unicode text"),
        (r'{"uri": "\ud800"}', "expected uri to be Unicode text"),
    ],
)
def test_an_invalid_line_affects_only_its_example(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "images.jsonl"
    path.write_text(f'{{"uri": "before.jpg"}}\n{line}\n{{"uri": "after.jpg"}}\n')
    before, bad, after = open_source(str(path)).refs(str(path), ())
    assert (before.id, after.id) == ("before.jpg", "after.jpg")
    assert bad.id == "images.jsonl:2"
    assert bad.problem is not None
    assert bad.problem.startswith(f"line 2: {message}")


def test_an_invalid_csv_row_affects_only_its_example(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text('uri,label\na.jpg,"x, with a comma"\nb.jpg,y,too,many\nc.jpg,z\n')
    one, bad, three = open_source(str(path)).refs(str(path), ())
    assert (one.label, three.label) == ("x, with a comma", "z")
    assert bad.problem == "line 3: expected 2 columns, found 2 more"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "url,label\nx,y\n", "found url, label; rename the column"),
        ("a.csv", "", "has no rows"),
        ("a.csv", "uri,label\n", "has no rows"),
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", '{"path": "x"}\n', "found path"),
    ],
)
def test_an_invalid_manifest_is_refused_at_launch(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / name)).check()
    assert message in str(caught.value)


def test_an_input_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing at"):
        open_source(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="There is no manifest at"):
        open_source(str(tmp_path / "nothing.csv")).check()
