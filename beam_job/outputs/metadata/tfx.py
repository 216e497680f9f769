"""``schema.pbtxt``: the fields of the examples as a TFX schema (tensorflow_metadata/proto/v0/schema.proto)."""

from __future__ import annotations

import json

from beam_job.core.records import Shape
from beam_job.outputs.base import RecordSchema


def schema_pbtxt(schema: RecordSchema) -> str:
    """The TFX schema of the examples of a dataset."""
    fields = {name: _schema_feature(name, "FLOAT", shape) for name, shape in schema.features.items()}
    fields["id"] = _schema_feature("id", "BYTES", (1,))
    domain = f'  int_domain {{ name: "label" min: -1 max: {len(schema.labels) - 1} is_categorical: true }}\n'
    fields["label"] = _schema_feature("label", "INT", (1,), domain)
    return "".join(fields[name] for name in sorted(fields))


def _schema_feature(name: str, kind: str, shape: Shape, domain: str = "") -> str:
    """A feature; one whose length differs between examples has no shape, but a number of values of at least 1."""
    dimensions = " ".join(f"dim {{ size: {length} }}" for length in shape)
    extent = "value_count { min: 1 }" if None in shape else f"shape {{ {dimensions} }}"
    return (
        f"feature {{\n"
        f"  name: {json.dumps(name)}\n"
        f"  type: {kind}\n"
        f"  presence {{ min_fraction: 1 min_count: 1 }}\n"
        f"  {extent}\n"
        f"{domain}"
        f"}}\n"
    )
