"""The files that ``tfds.builder_from_directory`` reads: dataset_info.json and features.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from beam_job.core.records import Shape
from beam_job.outputs.base import RecordSchema, SplitFiles

DATASET_NAME = "beam_job_features"
DATASET_VERSION = "1.0.0"
_TFDS = "tensorflow_datasets.core.features"


def dataset_info_json(source: str, file_format: str, splits: Mapping[str, SplitFiles]) -> str:
    """``dataset_info.json``.

    Args:
      source: One sentence about the dataset.
      file_format: TFDS' name of the shard format.
      splits: Split name to its files; a split without records is left out.
    """
    return _json(
        {
            "name": DATASET_NAME,
            "version": DATASET_VERSION,
            "description": source,
            "fileFormat": file_format,
            "moduleName": "beam_job",
            "supervisedKeys": {"tuple": {"items": [{"featureKey": "feature"}, {"featureKey": "label"}]}},
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
    fields: dict[str, Any] = {}
    for name, shape in schema.features.items():
        outer, _, inner = name.partition("/")  # TFDS writes a feature within a feature as outer/inner
        if inner:
            fields.setdefault(outer, _features_dict({}))["featuresDict"]["features"][inner] = _tensor_feature(shape)
        else:
            fields[name] = _tensor_feature(shape)
    fields["id"] = {"pythonClassName": f"{_TFDS}.text_feature.Text", "text": {}}
    fields["label"] = {
        "pythonClassName": f"{_TFDS}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(len(schema.labels))},
    }
    return _json(_features_dict({name: fields[name] for name in sorted(fields)}))


def _features_dict(fields: dict[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{_TFDS}.features_dict.FeaturesDict", "featuresDict": {"features": fields}}


def _tensor_feature(shape: Shape) -> dict[str, Any]:
    # -1 stands for a length that differs between examples.
    dimensions = ["-1" if length is None else str(length) for length in shape]
    tensor = {"shape": {"dimensions": dimensions}, "dtype": "float32", "encoding": "none"}
    return {"pythonClassName": f"{_TFDS}.tensor_feature.Tensor", "tensor": tensor}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
