"""Texts as a modality: UTF-8 to the strings that a model takes, unchanged."""

from __future__ import annotations

import codecs
import dataclasses
import itertools
import textwrap
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import CorruptExampleError, EmptyFileError, ExampleTooLargeError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Shape
from beam_job.modalities.base import Batch, FrozenInput, InputRequest, Modality, ModelInput, Preview

_PROBE = "a neutral text"
# Of different lengths, so that a model that gives a row for each word is not taken for one with a row for each text.
_TRIALS = ("a cat", "the dog ran over the hill", "one", "it rained, and then the sun came out again")
_SHOWN = 12
_PREVIEW_BYTES, _PREVIEW_LETTERS = 2000, 240


@dataclasses.dataclass(frozen=True)
class TextModality(Modality):
    """Texts for one model.

    Attributes:
      max_bytes: The longest text, in bytes of UTF-8.
    """

    max_bytes: int

    name: ClassVar[str] = "text"
    takes: ClassVar[str] = "texts, strings [B]"
    suffixes: ClassVar[frozenset[str]] = frozenset((".txt",))
    input_dtype: ClassVar[str] = "string"
    fills_up: ClassVar[bool] = True
    batch_size: ClassVar[int | None] = 8
    in_tables: ClassVar[bool] = True

    @classmethod
    def matches(cls, declared: ModelInput) -> bool:
        rows = declared.shape is None or (len(declared.shape) > 0 and _trailing(declared) in ((), (1,), (None,)))
        return declared.dtype == "string" and rows

    @classmethod
    def input_shape(cls, declared: ModelInput, request: InputRequest) -> Shape:
        return ()

    @classmethod
    def of(cls, frozen: FrozenInput, model: ModelOptions, decode: DecodeOptions) -> TextModality:
        return cls(decode.max_text_bytes)

    @classmethod
    def arranged(cls, batch: Any, declared: ModelInput) -> Any:
        return batch[:, None] if declared.shape is not None and _trailing(declared) else batch

    @classmethod
    def trials(cls, shape: Shape, count: int) -> list[Batch]:
        texts = [text.encode() for text in itertools.islice(itertools.cycle(_TRIALS), 2 * count)]
        return [np.array(texts[:count], object), np.array(texts[count:], object)]

    @classmethod
    def recognises(cls, start: bytes) -> bool:
        """Whether it is UTF-8 without control characters; the last letter may be cut."""
        try:
            letters = codecs.getincrementaldecoder("utf-8")().decode(start)
        except UnicodeDecodeError:
            return False
        return bool(letters) and all(letter.isprintable() or letter.isspace() for letter in letters)

    @classmethod
    def preview(cls, content: bytes) -> Preview | None:
        words = " ".join(content[:_PREVIEW_BYTES].decode("utf-8", "ignore").split())
        return Preview("text", textwrap.shorten(words, _PREVIEW_LETTERS, placeholder=" ...")) if words else None

    def prepare(self, content: bytes) -> npt.NDArray[Any]:
        text = content.removeprefix(codecs.BOM_UTF8)
        if len(text) > self.max_bytes:
            raise ExampleTooLargeError(
                f"expected a text of at most {self.max_bytes} bytes, found {len(text)}; see --max_text_bytes"
            )
        try:
            letters = text.decode("utf-8")
        except UnicodeDecodeError as error:
            found = text[error.start : error.start + _SHOWN]
            raise CorruptExampleError(f"expected a text in UTF-8, found {found!r} at byte {error.start}") from None
        if not letters.strip():
            raise EmptyFileError(f"expected a text, found {'only white space' if letters else 'none'}")
        return np.array(text, object)

    def probe(self) -> npt.NDArray[Any]:
        return np.array(_PROBE.encode(), object)

    def preprocessing(self) -> dict[str, Any]:
        return {"modality": self.name}

    def decode_policy(self) -> dict[str, Any]:
        return {"encoding": "utf-8", "max_text_bytes": self.max_bytes}

    def serve(self, contents: Any) -> Any:
        return contents


def _trailing(declared: ModelInput) -> Shape:
    """The shape of one example in the model's own input."""
    assert declared.shape is not None
    return declared.shape[1:]
