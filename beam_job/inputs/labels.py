"""Labels, ids and columns that are kept, as the cells of tables and records hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from beam_job.core.errors import BadReferenceError
from beam_job.core.labels import Label
from beam_job.core.values import LINE_BREAKS

LABEL = "label"
# What labels are called.
LABEL_NAMES = (LABEL, "labels", "class", "classes", "class_name", "cls", "category", "target")


def label_name(known: Collection[str]) -> str | None:
    """The name that labels have among others: ``label``, or the only one that is called alike; None without any.

    >>> label_name(["id", "category"]), label_name(["class", "category"])
    ('category', None)
    """
    found = [name for name in LABEL_NAMES if name in known]
    return found[0] if found[:1] == [LABEL] or len(found) == 1 else None


def as_label(value: Any, name: str, names: Sequence[str] | None = None) -> Label:
    """A value as a label, or None for no label.

    Args:
      value: Text, a number, or a list of texts and integers. Whole numbers that were made floats are integers.
      name: What the value is called, for messages.
      names: The names that integers are numbers of, if there are any; -1 is then no label.

    Raises:
      BadReferenceError: it can be no label.
    """
    if isinstance(value, (list, tuple)):
        found = [as_label(item, name, names) for item in value]
        if not all(isinstance(label, str) for label in found):
            raise BadReferenceError(f"expected a list of texts or integers as {name}, found {value!r:.100}")
        return tuple(map(str, found))
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadReferenceError(f"expected {name} in UTF-8, found {value[:100]!r}") from None
    if value is None or value == "" or (names is not None and value == -1):
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadReferenceError(f"expected {name} to be text or a number, found {value!r:.100}")
    if names is not None and isinstance(value, (int, float)):
        if not (isinstance(value, int) and 0 <= value < len(names)):
            raise BadReferenceError(f"expected {name} to be an integer less than {len(names)}, found {value}")
        return names[value]
    if isinstance(value, float):
        return value
    text = str(value)
    if not text.strip() or LINE_BREAKS.search(text) or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadReferenceError(f"expected {name} to be one line of Unicode text, found {text[:100]!r}")
    return text


def as_id(value: Any) -> str:
    """A value as an id.

    Raises:
      BadReferenceError: it can be none.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if value is None or value == "" or isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadReferenceError(f"expected an id that is text or an integer, found {value!r:.100}")
    return str(value)


def kept_of(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The values of the columns of a row that are kept, as text; empty where there is none."""
    return tuple(_as_text(row.get(name)) for name in names)


def _as_text(value: Any) -> str:
    """A value as text that tells it: a number in decimal, and what has parts as JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return _as_unicode(value)
    if isinstance(value, (bool, list, tuple, dict)):
        return _as_unicode(json.dumps(value, ensure_ascii=False, default=_as_text))
    return str(value)


def _as_unicode(text: str) -> str:
    """Text without lone surrogates: bytes that are not UTF-8, and what JSON spells so, are escaped."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
