from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beam_job.core.errors import InputError, UnknownLabelError
from beam_job.core.labels import NO_LABEL
from beam_job.dataset.labels import LARGEST_INTEGER_LABEL, LabelVocabulary

names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8)


@given(st.sets(names, min_size=1))
def test_every_label_has_an_index_of_its_own(labels: set[str]) -> None:
    assume(not all(label.isascii() and label.isdigit() for label in labels))  # integers keep their own value
    vocabulary = LabelVocabulary.build(labels)
    assert {vocabulary.index(label) for label in labels} == set(range(len(labels)))
    assert all(vocabulary.names[vocabulary.index(label)] == label for label in labels)


@given(st.sets(st.integers(0, 1000), min_size=1))
def test_integers_are_stored_as_they_are(labels: set[int]) -> None:
    vocabulary = LabelVocabulary.build(map(str, labels))
    assert all(vocabulary.index(str(label)) == label for label in labels)
    assert len(vocabulary.names) == max(labels) + 1


def test_leading_zeros_are_names() -> None:
    assert LabelVocabulary.build(["007", "7"]).names == ("007", "7")


def test_no_label_is_minus_one() -> None:
    assert LabelVocabulary(()).stored(None) == NO_LABEL == -1


def test_an_integer_that_is_no_index_is_refused() -> None:
    with pytest.raises(InputError, match=r"at most 999999, found 1000000; give --labels"):
        LabelVocabulary.build([str(LARGEST_INTEGER_LABEL + 1)])


def test_a_label_that_is_not_in_the_file_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownLabelError, match=r"found 'caat'; did you mean 'cat'\?"):
        LabelVocabulary(("cat", "dog")).index("caat")


@pytest.mark.parametrize(
    ("content", "names"), [("b\na\n", ("b", "a")), ("\ufeffb\r\na", ("b", "a")), ("with space\n", ("with space",))]
)
def test_a_file_of_labels(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode())
    assert LabelVocabulary.read(str(path)).names == names


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\n\nb\n", "not blank"),
        (b"a\na\n", "'a' more than once"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8"),
    ],
)
def test_a_file_that_is_no_vocabulary(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        LabelVocabulary.read(str(path))


def test_no_file_of_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file of labels"):
        LabelVocabulary.read(str(tmp_path / "labels.txt"))
