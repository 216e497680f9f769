"""Prints the metadata.json of the Flex Template, made from the options of extract. `make docs` runs it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from beam_job.core.option_fields import Field, choices_of, value_type
from beam_job.core.options import extract_fields

# The template sets these itself.
LEFT_OUT = frozenset({"on"})
_PATTERNS: dict[Any, str] = {bool: r"^(true|false)$", int: r"^[0-9]+$", float: r"^[0-9]*\.?[0-9]+(e-?[0-9]+)?$"}


def metadata() -> dict[str, Any]:
    """The template's metadata in Dataflow's format (TemplateMetadata of the Dataflow API)."""
    return {
        "name": "beam_job extract",
        "description": "Features, computed once: TFRecords of features and labels from the images in a bucket.",
        "parameters": [_parameter(field) for _, field in extract_fields() if field.name not in LEFT_OUT],
    }


def _parameter(field: Field) -> dict[str, Any]:
    choices, kind = choices_of(field), value_type(field)
    needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    pattern = f"^({'|'.join(map(re.escape, choices))})$" if choices else _PATTERNS.get(kind)
    return {
        "name": field.name,
        "label": field.name.replace("_", " ").capitalize(),
        "helpText": field.metadata["help"],
        "isOptional": not needed,
        "paramType": "TEXT",
        **({"regexes": [pattern]} if pattern else {}),
    }


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2))
