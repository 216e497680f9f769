"""Writes beam_job/option_types.py from the options themselves; `make docs` calls it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from beam_job.core.option_fields import Field, group_fields, is_repeatable, value_type
from beam_job.core.options import HeadOptions, ModelOptions, ReportOptions, SampleOptions, extract_fields

_HEADER = '''"""The types of the options of the Python API. Made from the options by `make docs`; do not edit.

A value may be given as its own type or as text, as on the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from beam_job.core.values import ImageSize, LabelPattern, LayerChoice, Names, SplitFractions, TagSet, ValueRange
'''
_ALSO = {
    "ImageSize": "ImageSize | int | str",
    "ValueRange": "ValueRange | str",
    "LabelPattern": "LabelPattern | str",
    "Names": "Names | str",
    "SplitFractions": "SplitFractions | str",
    "TagSet": "TagSet | str",
}
# Class name to what it is for, and its options.
_TYPES = {
    "ExtractArguments": ("extract and plan", (field for _, field in extract_fields()), {"input", "output"}),
    "ModelArguments": ("inspect_model", group_fields(ModelOptions), {"model"}),
    "HeadArguments": ("train_head", group_fields(HeadOptions), set()),
    "ReportArguments": ("report", group_fields(ReportOptions), set()),
    "SampleArguments": ("samples", group_fields(SampleOptions), set()),
}


def lines() -> Iterator[str]:
    """The module, line by line."""
    yield _HEADER
    for name, (function, fields, left_out) in _TYPES.items():
        yield from _class(name, function, (field for field in fields if field.name not in left_out))


def _class(name: str, function: str, fields: Iterable[Field]) -> Iterator[str]:
    yield ""
    yield f"class {name}(TypedDict, total=False):"
    yield f'    """Options of {function}."""'
    yield ""
    for field in fields:
        yield f"    {field.name}: {_annotation(field)}"
    yield ""


def _annotation(field: Field) -> str:
    kind: Any = value_type(field).__name__
    choices = field.metadata["choices"]
    if is_repeatable(field):
        item = f"{kind} | str" if kind != "str" else "str"
        return f"Sequence[{item}] | {item}"
    if isinstance(choices, tuple) and choices:
        kind = f"Literal[{', '.join(f'{choice!r}' for choice in choices)}]".replace("'", '"')
    kind = _ALSO.get(kind, kind)
    optional = field.default is None and field.default is not dataclasses.MISSING
    return f"{kind} | None" if optional else kind


if __name__ == "__main__":
    print("\n".join(lines()).rstrip())
