"""Labels and ids as the cells of tables and records hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from beam_job.core.errors import BadReferenceError
from beam_job.core.values import LINE_BREAKS


def as_label(value: Any, name: str, names: Sequence[str] | None = None) -> str | None:
    """A value as the text of a label, or None for no label.

    Args:
      value: Text, an integer, or a whole number that was made a float.
      name: What the value is called, for messages.
      names: The names that integers are numbers of, if there are any; -1 is then no label.

    Raises:
      BadReferenceError: it can be no label.
    """
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
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadReferenceError(f"expected {name} to be text or an integer, found {value!r:.100}")
    if names is not None and isinstance(value, int):
        if not 0 <= value < len(names):
            raise BadReferenceError(f"expected {name} to be less than {len(names)}, found {value}")
        return names[value]
    text = str(value)
    if LINE_BREAKS.search(text):
        raise BadReferenceError(f"expected {name} to be one line of text, found {text[:100]!r}")
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
