from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_job.core.errors import CorruptExampleError, DecodeError, EmptyFileError, ExampleTooLargeError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Shape
from beam_job.modalities.base import FrozenInput, ModelInput
from beam_job.modalities.selection import find_modality
from beam_job.modalities.text.modality import TextModality
from tests.modalities.contract import ModalityContract

STRINGS = ModelInput("sentences", "string", (None,))


def modality_for(max_text_bytes: int = 1000) -> TextModality:
    frozen = FrozenInput("m", (), STRINGS)
    return TextModality.of(frozen, ModelOptions(), DecodeOptions(max_text_bytes=max_text_bytes))


class TestTexts(ModalityContract):
    @pytest.fixture
    def modality(self) -> TextModality:
        return modality_for()

    @pytest.fixture
    def contents(self) -> list[bytes]:
        return ["\u00fcber alles".encode(), b"a\nb\n", b"with a zero: \0"]


@pytest.mark.parametrize("shape", [(None,), (1,), (None, 1), (None, None), None])
def test_models_of_texts(shape: Shape | None) -> None:
    assert find_modality(ModelInput("x", "string", shape)) is TextModality


@pytest.mark.parametrize(("dtype", "shape"), [("string", (None, 3)), ("string", ()), ("int32", (None,))])
def test_other_models(dtype: str, shape: Shape) -> None:
    assert find_modality(ModelInput("x", dtype, shape)) is not TextModality


def test_a_text_is_passed_on_as_it_is_but_for_the_mark_of_its_encoding() -> None:
    for content in (b" blank at both ends \r\n", "e\u0301 is not \u00e9".encode()):
        assert modality_for().prepare(content).item() == content
        assert modality_for().prepare(b"\xef\xbb\xbf" + content).item() == content


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", EmptyFileError, "expected a text, found none"),
        (b"\xef\xbb\xbf", EmptyFileError, "found none"),
        (b" \t\n\xc2\xa0", EmptyFileError, "found only white space"),
        (b"caf\xe9 au lait", CorruptExampleError, r"expected a text in UTF-8, found b'\\xe9 au lait' at byte 3"),
        (b"\xed\xa0\x80", CorruptExampleError, "at byte 0"),
        (b"x" * 1001, ExampleTooLargeError, "at most 1000 bytes, found 1001; see --max_text_bytes"),
    ],
    ids=lambda value: None if isinstance(value, (bytes, str)) else value.__name__,
)
def test_what_is_no_text_is_an_error_of_the_example(content: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        modality_for().prepare(content)


@settings(deadline=None, max_examples=2000)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_text_or_an_error_of_the_example(content: bytes) -> None:
    try:
        text = modality_for(50).prepare(content).item()
    except DecodeError as error:
        assert "\n" not in str(error)
    else:
        assert text == content.removeprefix(codecs.BOM_UTF8)
        assert text.decode().strip()
    TextModality.recognises(content)
    preview = TextModality.preview(content)
    assert preview is None or len(preview.content) <= 240


@pytest.mark.parametrize(
    ("start", "is_text"),
    [(b"From: a\n\tb", True), ("cut in a letter \u00e9".encode()[:-1], True), (b"\x89PNG\r\n", False), (b"", False)],
)
def test_files_without_a_suffix_are_recognised(start: bytes, is_text: bool) -> None:
    assert TextModality.recognises(start) is is_text
