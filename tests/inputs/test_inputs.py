import contextlib
import csv
import glob
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_job.beam import blocks
from beam_job.core.errors import InputError
from beam_job.core.records import ExampleRef
from beam_job.inputs.selection import open_source
from beam_job.runtime import storage
from beam_job.runtime.storage import globs
from tests.inputs.contract import IMAGES, SourceContract, list_passed_over, list_refs
from tests.support.bucket import Bucket
from tests.support.images import encode, jpeg, photograph

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

    def test_what_is_hidden_or_left_by_a_system_is_ignored(self, root: Path) -> None:
        names = (
            "a/.hidden.jpg",
            ".git/x.jpg",
            "a/.cache/x.jpg",
            "@eaDir/x.jpg",
            "a/@eaDir/x.jpg",
            "$RECYCLE.BIN/x.jpg",
        )
        write(root, *names, "__MACOSX/a/._1.jpg", "a/Thumbs.db", "a/desktop.ini", ".DS_Store", "a/._1.jpg")
        source = open_source(str(root))
        assert {ref.label for ref in list_refs(source)} == {"a", "b", "c"}
        assert (len(list_refs(source)), list_passed_over(source)) == (3, {})

    def test_other_files_are_passed_over_and_counted(self, root: Path) -> None:
        write(root, "a/notes.txt", "README.md", "b/more.TXT", "a/noSuffix", "a/x.tar gz", "c/x.heic2")
        source = open_source(str(root))
        assert len(list_refs(source)) == 3
        assert list_passed_over(source) == {
            ".txt": 2,
            ".md": 1,
            "without suffix": 1,
            "with other suffixes": 1,
            ".heic2": 1,
        }

    def test_images_whose_names_do_not_tell_are_found_by_their_first_bytes(self, root: Path) -> None:
        for name in ("without_suffix", "saved.jpg_large", "saved.jpg?w=640", "backup.jpg~", "x.dat"):
            (root / "a" / name).write_bytes(jpeg(photograph()))
        (root / "b/y").write_bytes(encode(photograph(), "AVIF"))
        (root / "b/z").write_bytes(encode(photograph(), "TIFF"))  # perhaps the raw file of a camera
        source = open_source(str(root))
        assert (len(list_refs(source)), list_passed_over(source)) == (9, {"without suffix": 1})

    def test_names_that_are_not_utf_8(self, root: Path) -> None:
        Path(os.fsdecode(bytes(root / "a") + b"/\xff.jpg")).write_bytes(b"x")
        refs = {ref.id: ref.uri for ref in list_refs(open_source(str(root)))}
        assert Path(refs[r"a/\xff.jpg"]).read_bytes() == b"x"


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


LAYOUTS: dict[str, tuple[tuple[str, ...], dict[str, tuple[str | None, str | None]], str]] = {
    "splits": (
        ("train/cat/1.jpg", "train/dog/deep/2.jpg", "val/cat/1.jpg", "test/3.jpg", "loose.jpg"),
        {
            "train/cat/1.jpg": ("train", "cat"),
            "train/dog/deep/2.jpg": ("train", "dog"),
            "val/cat/1.jpg": ("val", "cat"),
            "test/3.jpg": ("test", None),
            "loose.jpg": (None, None),
        },
        "the folders test, train, val are taken as splits",
    ),
    "splits in capitals": (
        ("Train/cat/1.jpg", "Test/cat/1.jpg"),
        {"Train/cat/1.jpg": ("train", "cat"), "Test/cat/1.jpg": ("test", "cat")},
        "the folders Test, Train are taken as splits",
    ),
    "a class that is called as a split is": (
        ("train/1.jpg", "bus/1.jpg"),
        {"train/1.jpg": (None, "train"), "bus/1.jpg": (None, "bus")},
        "",
    ),
    "one folder too many": (
        ("photos/cat/1.jpg", "photos/dog/1.jpg", "photos/2.jpg", "3.jpg"),
        {
            "photos/cat/1.jpg": (None, "cat"),
            "photos/dog/1.jpg": (None, "dog"),
            "photos/2.jpg": (None, None),
            "3.jpg": (None, None),
        },
        "the labels are the folders below photos",
    ),
    "one folder too many above splits": (
        ("set/images/train/cat/1.jpg", "set/images/test/cat/1.jpg"),
        {"set/images/train/cat/1.jpg": ("train", "cat"), "set/images/test/cat/1.jpg": ("test", "cat")},
        "are taken as splits",
    ),
    "one class": (
        ("cat/1.jpg", "cat/deep/2.jpg"),
        {"cat/1.jpg": (None, "cat"), "cat/deep/2.jpg": (None, "cat")},
        "",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_what_folders_are(name: str, place: str, tmp_path: Path, bucket: Bucket) -> None:
    files, expected, told = LAYOUTS[name]
    if place == "disk":
        write(tmp_path / "in", *files)
        path = str(tmp_path / "in")
    else:
        folder = f"{tmp_path.name}-{name.replace(' ', '-')}"
        for file in files:
            bucket.write(f"{folder}/{file}", b"x")
        path = bucket.url(folder)
    source = open_source(path)
    source.check()
    assert {ref.id: (ref.split, ref.label) for ref in list_refs(source)} == expected
    assert told in "; ".join(source.check())
    assert bool(told) == bool(source.check())
    assert len(set(source.units())) == len(list(source.units()))


NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & set(b"/\0.\\"))


@settings(max_examples=50, deadline=None)
@given(folders=st.lists(NAMES, min_size=1, max_size=4, unique=True), name=NAMES)
def test_names_of_any_bytes_reach_the_refs_and_pass_through_blocks(folders: list[bytes], name: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        for folder in folders:
            os.makedirs(os.path.join(os.fsencode(root), folder), exist_ok=True)
            Path(os.fsdecode(os.path.join(os.fsencode(root), folder, name + b".jpg"))).write_bytes(b"x")
        source = open_source(root)
        units = [json.loads(json.dumps(unit).encode("ascii")) for unit in source.units()]
        refs = [ref for unit in units for ref in source.refs(unit, IMAGES) if isinstance(ref, ExampleRef)]
        assert len(refs) == len(folders)
        for ref in blocks.unpack(blocks.pack(refs)):
            assert Path(ref.uri).read_bytes() == b"x"
            f"{ref.id} {ref.label}".encode()


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

    def test_a_wildcard_does_not_match_a_hidden_file_and_follows_links_as_in_a_shell(self, root: Path) -> None:
        write(root, "a/._1.jpg", "elsewhere/4.jpg")
        (root / "a/.5.jpg").write_bytes(b"x")
        (root / "z").symlink_to(root / "elsewhere", target_is_directory=True)
        assert [ref.id for ref in list_refs(open_source(str(root / "*/*.jpg")))] == [
            "a/1.jpg",
            "elsewhere/4.jpg",
            "z/4.jpg",
        ]
        assert [ref.id for ref in list_refs(open_source(str(root / "a/.*.jpg")))] == [".5.jpg", "._1.jpg"]
        assert "z/4.jpg" in [ref.id for ref in list_refs(open_source(str(root / "**/*.jpg")))]


SHELL_NAMES = st.lists(st.sampled_from(["a", "b.jpg", ".c", "d1", "[e]"]), min_size=1, max_size=3).map("/".join)
SHELL_PATTERNS = st.lists(
    st.sampled_from(["*", "?", "*.jpg", "[ab]*", "[!a]*", ".*", "a", "d[0-9]", "**", "b.*", "*1"]),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(max_examples=200, deadline=None)
@given(names=st.lists(SHELL_NAMES, max_size=5), pattern=SHELL_PATTERNS)
@example(names=["a"], pattern="a/**")
def test_globs_match_what_pythons_glob_matches(names: list[str], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            with contextlib.suppress(OSError):  # a file stands where a folder would
                Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, name).write_bytes(b"x")
        expected = {path for path in glob.glob(f"{folder}/{pattern}", recursive=True) if os.path.isfile(path)}
        assert {info.path for info in storage.match(f"{folder}/{pattern}")} == expected
        everything = {str(path) for path in Path(folder).rglob("*") if path.is_file()}
        assert set(filter(globs.translate(f"{folder}/{pattern}").fullmatch, everything)) == expected


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
    relative, remote, absolute = open_source(str(path)).refs(str(path), IMAGES)
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
        ('{"uri": "a.jpg", "label": true}', "expected label to be text or a number, found True"),
        (
            '{"uri": "a.jpg", "split": "a/b"}',
            "expected a split of a letter, then letters, digits and underscores, found 'a/b'",
        ),
        (r'{"uri": "a.jpg", "label": "\ud800"}', "expected label to be Unicode text"),
        (r'{"uri": "\ud800"}', "expected uri to be Unicode text"),
    ],
)
def test_an_invalid_line_affects_only_its_example(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "images.jsonl"
    path.write_text(f'{{"uri": "before.jpg"}}\n{line}\n{{"uri": "after.jpg"}}\n')
    before, bad, after = open_source(str(path)).refs(str(path), IMAGES)
    assert (before.id, after.id) == ("before.jpg", "after.jpg")
    assert bad.id == "images.jsonl:2"
    assert bad.problem is not None
    assert bad.problem.startswith(f"line 2: {message}")


TABLES = {
    "index of pandas": ",uri,label\n0,a.jpg,x\n1,b.jpg,y\n",
    "nameless column between": "uri,,label\na.jpg,9,x\nb.jpg,9,y\n",
    "trailing commas": "uri,label,\na.jpg,x,\nb.jpg,y,\n",
    "trailing commas in rows": "uri,label\na.jpg,x,,\nb.jpg,y,\n",
    "blanks": "uri , label \na.jpg , x\n b.jpg, y \n",
    "capitals": "URI,Label\na.jpg,x\nb.jpg,y\n",
    "semicolons": "uri;label\na.jpg;x\nb.jpg;y\n",
    "tabs": "label\turi\nx\ta.jpg\ny\tb.jpg\n",
    "pipes": "uri|label\na.jpg|x\nb.jpg|y\n",
    "lines of Windows": "uri,label\r\na.jpg,x\r\nb.jpg,y\r\n",
    "blank lines": "uri,label\n\na.jpg,x\n\nb.jpg,y\n\n",
    "quotes": 'uri,"label"\n"a.jpg", "x"\n"b.jpg","y"\n',
    "labels": "uri,labels\na.jpg,x\nb.jpg,y\n",
    "class": "uri,Class\na.jpg,x\nb.jpg,y\n",
    "category": "uri,width,category\na.jpg,1,x\nb.jpg,2,y\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_as_people_have_them(name: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_bytes(TABLES[name].encode(encoding))
    source = open_source(str(path))
    source.check()
    assert [(ref.id, ref.label) for ref in list_refs(source)] == [("a.jpg", "x"), ("b.jpg", "y")]
    synonym = name in ("labels", "class", "category")
    assert source.check() == ([f"the column {name!r} is taken as the label"] if synonym else [])


CELLS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5, unique_by=lambda row: row[0]),
    delimiter=st.sampled_from(",;\t|"),
    columns=st.permutations(["uri", "id", "Label ", "", "width"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_no_label_is_lost_whatever_the_columns(
    rows: list[tuple[str, str]], delimiter: str, columns: list[str], encoding: str
) -> None:
    """Written by Python's csv module, with columns in any order, a nameless one among them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.csv")
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(columns)
            for name, label in rows:
                cells = {"uri": "x.jpg", "id": name, "Label ": label, "": "7", "width": "9"}
                writer.writerow([cells[column] for column in columns])
        found = open_source(str(path)).refs(str(path), IMAGES)
        assert [(ref.id, ref.label) for ref in found if isinstance(ref, ExampleRef)] == rows


def test_several_columns_that_may_be_the_label_are_told(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("uri,class,category\na.jpg,x,y\n")
    source = open_source(str(tmp_path / "images.csv"))
    assert source.check() == [
        "none of the columns 'class', 'category' is taken as the label; name it with --label_column"
    ]
    assert [ref.label for ref in list_refs(source)] == [None]


def test_a_label_that_is_not_utf_8_is_refused_at_launch_and_an_error_row_later(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_bytes("uri,label\na.jpg,café\n".encode("latin-1"))
    source = open_source(str(path))
    with pytest.raises(InputError, match=r"in UTF-8, found the label 'caf\\\\xe9'; save it so"):
        source.check()
    (ref,) = source.refs(str(path), IMAGES)
    assert isinstance(ref, ExampleRef)
    assert ref.problem == r"line 2: expected label in UTF-8, found 'caf\\xe9'; save the manifest as UTF-8"


def test_paths_of_windows_and_file_urls(tmp_path: Path) -> None:
    write(tmp_path, "images/a.jpg", "images/b c.jpg", "images\\kept.jpg")
    rows = [
        "images\\a.jpg",
        (tmp_path / "images/b c.jpg").as_uri(),
        "images\\kept.jpg",
        f"file://localhost{tmp_path}/images/a.jpg",
    ]
    (tmp_path / "images.csv").write_text("\n".join(["uri,id", *(f"{uri},{n}" for n, uri in enumerate(rows))]))
    refs = list_refs(open_source((tmp_path / "images.csv").as_uri()))
    names = ["images/a.jpg", "images/b c.jpg", "images\\kept.jpg", "images/a.jpg"]
    assert [ref.uri for ref in refs] == [f"{tmp_path}/{name}" for name in names]


@pytest.mark.parametrize("name", ["list.tsv", "LIST.CSV.GZ", "x.arrow", "images.7z", "a.tar.zst"])
def test_a_file_that_is_no_input_is_refused_at_launch(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    with pytest.raises(InputError, match=r"a glob, a .csv or .jsonl manifest, .*; found the file"):
        open_source(str(tmp_path / name)).check()


def test_an_invalid_csv_row_affects_only_its_example(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text('uri,label\na.jpg,"x, with a comma"\nb.jpg,y,too,many\nc.jpg,z\n')
    one, bad, three = open_source(str(path)).refs(str(path), IMAGES)
    assert (one.label, three.label) == ("x, with a comma", "z")
    assert bad.problem == "line 3: expected 2 columns, found 2 more"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "photo,label\nx,y\n", "found photo, label; name the column"),
        ("a.csv", "", "has no rows"),
        ("a.csv", "uri,label\n", "has no rows"),
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", '{"photo": "x"}\n', "found photo"),
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
