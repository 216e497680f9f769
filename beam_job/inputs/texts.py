"""Texts in a table, or each in a line of its own: short ones travel in their ref, others are read where they are."""

from __future__ import annotations

import hashlib
from typing import Any

from beam_job.core.records import ExampleRef
from beam_job.inputs.tables import Span, cells_of
from beam_job.runtime import storage

# Longest text that travels, in bytes: the refs of a dataset pass through a shuffle.
CARRIED_BYTES = 4096


def text_ref(kind: str, uri: str, text: str, span: Span, **fields: Any) -> ExampleRef:
    """The ref of a text.

    Args:
      kind: The kind of input that listed it, by its name in the registry.
      uri: The file that it is in.
      text: The text; bytes that are not UTF-8 are surrogates.
      span: The row that it is in; None if that cannot be told, and then the text travels.
      fields: The other fields of the ref.
    """
    content = text.encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    if span is None or len(content) <= CARRIED_BYTES:
        return ExampleRef(uri=uri, version=digest, text=text, **fields)
    start, end = span
    return ExampleRef(uri=uri, version=digest, member=f"{kind}:{start}+{end - start}:{digest}", **fields)


def find_text(uri: str, place: str) -> bytes:
    """The text that a ref names.

    Args:
      uri: The file that it is in.
      place: What :func:`text_ref` wrote after the kind of input: the row, and the digest of the text.

    Raises:
      OSError: the file cannot be read.
      ValueError: the row does not hold the text any more.
    """
    span, _, wanted = place.partition(":")
    start, length = map(int, span.split("+"))
    for cell in cells_of(storage.read_range(uri, start, length)):
        content = cell.encode("utf-8", "surrogateescape")
        if hashlib.blake2b(content, digest_size=16).hexdigest() == wanted:
            return content
    raise ValueError("the row with the text has changed since it was listed")
