"""``schema.pbtxt``: the fields of the examples as a TFX schema (tensorflow_metadata/proto/v0/schema.proto)."""

from __future__ import annotations

import json

from beam_job.core.labels import LabelKind
from beam_job.core.records import Shape
from beam_job.outputs.base import RecordSchema


def schema_pbtxt(schema: RecordSchema) -> str:
    """The TFX schema of the examples of a dataset."""
    fields = {name: _schema_feature(name, "FLOAT", shape) for name, shape in schema.features.items()}
    fields |= {name: _schema_feature(name, "BYTES", (1,)) for name in ("id", *schema.kept)}
    name = schema.label_kind.field
    if schema.label_kind is LabelKind.TARGET:
        fields[name] = _schema_feature(name, "FLOAT", (1,))
    else:
        domain = f'  int_domain {{ name: "{name}" min: -1 max: {len(schema.labels) - 1} is_categorical: true }}\n'
        extent = "value_count { min: 0 }" if schema.label_kind is LabelKind.MULTI else None
        fields[name] = _schema_feature(name, "INT", (1,), domain, extent)
    return "".join(fields[name] for name in sorted(fields))


def _schema_feature(name: str, kind: str, shape: Shape, domain: str = "", extent: str | None = None) -> str:
    """A feature; one whose length differs between examples has no shape, but a number of values of at least 1."""
    dimensions = " ".join(f"dim {{ size: {length} }}" for length in shape)
    extent = extent or ("value_count { min: 1 }" if None in shape else f"shape {{ {dimensions} }}")
    return (
        f"feature {{\n"
        f"  name: {json.dumps(name)}\n"
        f"  type: {kind}\n"
        f"  presence {{ min_fraction: 1 min_count: 1 }}\n"
        f"  {extent}\n"
        f"{domain}"
        f"}}\n"
    )
