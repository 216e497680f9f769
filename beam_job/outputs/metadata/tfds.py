"""The files that ``tfds.builder_from_directory`` reads: dataset_info.json and features.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from beam_job.core import naming
from beam_job.core.labels import LabelKind
from beam_job.core.records import Shape
from beam_job.outputs.base import RecordSchema, SplitFiles

DATASET_NAME = "beam_job_features"
DATASET_VERSION = "1.0.0"
_TFDS = "tensorflow_datasets.core.features"


def dataset_info_json(source: str, file_format: str, schema: RecordSchema, splits: Mapping[str, SplitFiles]) -> str:
    """``dataset_info.json``.

    Args:
      source: One sentence about the dataset.
      file_format: TFDS' name of the shard format.
      schema: What the records have in common.
      splits: Split name to its files; a split without records is left out.
    """
    return _json(
        {
            "name": DATASET_NAME,
            "version": DATASET_VERSION,
            "description": source,
            "fileFormat": file_format,
            "moduleName": "beam_job",
            "supervisedKeys": {
                "tuple": {"items": [{"featureKey": "feature"}, {"featureKey": schema.label_kind.field}]}
            },
            "splits": [
                {
                    "name": split,
                    "shardLengths": [str(count) for count in files.records],
                    "numBytes": str(files.bytes),
                    "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                }
                for split, files in splits.items()
                if sum(files.records)
            ],
        }
    )


def features_json(schema: RecordSchema) -> str:
    """``features.json``: the types of the fields of the examples."""
    described = {name: _tensor_feature(shape) for name, shape in schema.features.items()}
    text = {"pythonClassName": f"{_TFDS}.text_feature.Text", "text": {}}
    described.update((name, text) for name in ("id", *schema.kept))
    described[schema.label_kind.field] = _label_feature(schema)
    fields: dict[str, Any] = {}
    for name, feature in described.items():
        outer, _, inner = name.partition("/")  # TFDS writes a feature within a feature as outer/inner
        if inner:
            fields.setdefault(outer, _features_dict({}))["featuresDict"]["features"][inner] = feature
        else:
            fields[name] = feature
    return _json(_features_dict({name: fields[name] for name in sorted(fields)}))


def label_files(schema: RecordSchema) -> dict[str, str]:
    """Name to content of the file with the names of the classes, where TFDS looks for another one than ours."""
    if schema.label_kind is not LabelKind.MULTI:
        return {}
    return {naming.MULTI_LABELS: "".join(f"{name}\n" for name in schema.labels)}


def _label_feature(schema: RecordSchema) -> dict[str, Any]:
    if schema.label_kind is LabelKind.TARGET:
        return _tensor_feature(())
    classes = {
        "pythonClassName": f"{_TFDS}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(len(schema.labels))},
    }
    if schema.label_kind is LabelKind.CLASS:
        return classes
    return {
        "pythonClassName": f"{_TFDS}.sequence_feature.Sequence",
        "sequence": {"feature": classes, "length": "-1"},
    }


def _features_dict(fields: dict[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{_TFDS}.features_dict.FeaturesDict", "featuresDict": {"features": fields}}


def _tensor_feature(shape: Shape) -> dict[str, Any]:
    # -1 stands for a length that differs between examples.
    dimensions = ["-1" if length is None else str(length) for length in shape]
    tensor = {"shape": {"dimensions": dimensions} if dimensions else {}, "dtype": "float32", "encoding": "none"}
    return {"pythonClassName": f"{_TFDS}.tensor_feature.Tensor", "tensor": tensor}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
