"""Texts as an input: in files, in columns, in lines; short ones in their refs, long ones where they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beam_job.beam import blocks
from beam_job.core.errors import InputError, ReadError
from beam_job.core.records import ExampleRef
from beam_job.dataset.originals import example_files
from beam_job.inputs.base import Columns, PassedOver, all_entries, all_refs
from beam_job.inputs.reading import read_example
from beam_job.inputs.selection import open_source
from beam_job.inputs.texts import CARRIED_BYTES
from beam_job.modalities.image.modality import ImageModality
from beam_job.modalities.text.modality import TextModality
from tests.support.bucket import Bucket

TEXTS, IMAGES = example_files(TextModality), example_files(ImageModality)
LONG = "a long text, " * CARRIED_BYTES
# With what CSV quotes, what JSON escapes, other ends of lines, and what text files split at.
ODD = [
    'with "quotes", and\na line',
    "a\u2028b \x0b c\x85",
    "\u00fc\U0001f600",
    "tab\tsemi;colon|bar",
    "  blanks  ",
    "\\n",
]


def write_csv(path: Path, texts: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        writer.writerows(["x", text] for text in texts)


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in texts))


def refs_of(path: object, column: str | None = None) -> list[ExampleRef]:
    source = open_source(str(path), Columns(text_column=column))
    source.check()
    return blocks.unpack(blocks.pack(all_refs(source, TEXTS)))


def contents_of(path: object) -> list[str]:
    return [read_example(ref).decode() for ref in refs_of(path)]


@pytest.mark.parametrize(("name", "write"), [("a.csv", write_csv), ("a.jsonl", write_jsonl)], ids=["csv", "jsonl"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1))
@example(texts=ODD)
@example(texts=[*ODD, *(text + LONG for text in ODD), LONG, "short"])
def test_texts_of_any_length_are_read_as_they_were_written(
    tmp_path: Path, name: str, write: Callable[[Path, list[str]], None], texts: list[str]
) -> None:
    write(tmp_path / name, texts)
    expected = [text.strip() if name.endswith("csv") else text for text in texts]
    if name.endswith("csv"):
        assert contents_of(tmp_path / name) == expected
    else:
        assert contents_of(tmp_path / name) == [text for text in expected if text]
    for ref, text in zip(refs_of(tmp_path / name), expected, strict=True):
        assert (ref.text is None) == (len(text.encode()) > CARRIED_BYTES)
        assert ref.label == "x"


def test_a_text_per_line(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\n" + LONG.encode() + b"\n caf\xe9\nlast")
    refs = refs_of(path)
    assert [ref.id for ref in refs] == [f"texts.txt:{number}" for number in range(1, 6)]
    assert [read_example(ref) for ref in refs] == [b"one", b"", LONG.encode(), b" caf\xe9", b"last"]
    assert [ref.member is not None for ref in refs] == [False, False, True, False, False]


def test_long_texts_in_a_bucket_are_read_by_their_range(bucket: Bucket, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [LONG, "short", LONG + "2"])
    url = bucket.write("texts/a.jsonl", (tmp_path / "a.jsonl").read_bytes())
    assert contents_of(url) == [LONG, "short", LONG + "2"]


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'text\n\u00fcber\n"{LONG}"\n', encoding="utf-16")
    assert contents_of(tmp_path / "a.csv") == ["\u00fcber", LONG.strip()]


def test_what_changed_since_it_was_listed_is_an_error_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, ["short", LONG])
    (_, long) = refs_of(path)
    write_jsonl(path, ["other", "x" + LONG[1:]])
    with pytest.raises(ReadError, match="has changed since it was listed"):
        read_example(long)


def test_the_fingerprint_of_a_text_is_its_own(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["one", LONG, "three"])
    before = {ref.version for ref in refs_of(tmp_path / "a.csv")}
    write_csv(tmp_path / "a.csv", ["new", "three", LONG, "one"])
    assert before < {ref.version for ref in refs_of(tmp_path / "a.csv")}


def test_columns_of_a_table_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"Body": "one", "label": 3, "id": "first", "split": "test", "group": "g"},
        {"body": "", "uri": "two.txt"},
        {"body": 7},
        {"body": None},
        {"body": [1]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second, third, fourth, fifth = refs_of(path, "BODY")
    assert (first.id, first.text, first.label, first.split, first.group) == ("first", "one", "3", "test", "g")
    assert (second.id, second.text, second.uri) == ("two.txt", None, str(tmp_path / "two.txt"))
    assert (third.id, third.text) == ("a.jsonl:3", "7")
    assert fourth.problem == "line 4: expected a uri or body, found none"
    assert fifth.problem == "line 5: expected body to be text or an integer, found [1]"


def test_a_model_of_other_examples_takes_the_files_of_a_table_with_texts(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("uri,text\na.jpg,a cat\n")
    source = open_source(str(path))
    (ref,) = all_refs(source, IMAGES)
    assert (ref.uri, ref.text) == (str(tmp_path / "a.jpg"), None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\na cat,x\n", "Expected a column uri with paths .* found label, text"),
        ("a.txt", "a cat\n", "Expected a model of texts for the file .* A list of files is a .csv"),
    ],
)
def test_texts_are_refused_for_a_model_of_other_examples(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    source = open_source(str(tmp_path / name))
    source.check()
    with pytest.raises(InputError, match=message):
        list(all_refs(source, IMAGES))


def test_an_input_without_columns_refuses_the_name_of_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--text_column goes with a manifest"):
        open_source(str(tmp_path), Columns(text_column="body"))


def test_files_of_texts(tmp_path: Path) -> None:
    contents = {
        "a/1.txt": b"x", "a/51121": b"From: a\n", "b/3.TXT": b"x", "b/binary": b"\x89\x00", "b/table.csv": b"text\nx\n",
        "b/page.html": b"<p>", "c/4.jpg": b"\xff\xd8\xff",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    entries = list(all_entries(open_source(str(tmp_path)), TEXTS))
    assert sorted(entry.id for entry in entries if isinstance(entry, ExampleRef)) == ["a/1.txt", "a/51121", "b/3.TXT"]
    kinds = sorted(entry.kind for entry in entries if isinstance(entry, PassedOver))
    assert kinds == [".csv", ".html", ".jpg", "without suffix"]
