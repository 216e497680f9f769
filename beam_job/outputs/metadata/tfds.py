"""The files that tell readers what is in a dataset: TFDS's, TFX's, and our own run.json. Pure: values in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from beam_job.core import naming

FORMAT_VERSION = 1
DATASET_NAME = "beam_job_features"
DATASET_VERSION = "1.0.0"

_TFDS = "tensorflow_datasets.core.features"


def reader_files(
    shard_records: Mapping[str, Sequence[int]],
    shard_bytes: Mapping[str, int],
    model: str,
    features: Mapping[str, Sequence[int]],
    classes: int,
) -> dict[str, str]:
    """Name to content of the files that tell TFDS and TFX what is in a dataset.

    Args:
      shard_records: Split name to the number of records in each of its shards.
      shard_bytes: Split name to the size of its files.
      model: The model's handle.
      features: Feature name to its shape.
      classes: How many labels there are.
    """
    words = f"Image features by {model}, extracted by beam_job."
    return {
        naming.DATASET_INFO: dataset_info_json(shard_records, shard_bytes, words),
        naming.FEATURES: features_json(features, classes),
        naming.SCHEMA: schema_pbtxt(features, classes),
    }


def dataset_info_json(shard_records: Mapping[str, Sequence[int]], shard_bytes: Mapping[str, int], source: str) -> str:
    """``dataset_info.json`` as ``tfds.builder_from_directory`` reads it.

    Args:
      shard_records: Split name to the number of records in each of its shards; a split without records is left out.
      shard_bytes: Split name to the size of its files.
      source: A sentence on what the dataset is.
    """
    splits = [
        {
            "name": split,
            "shardLengths": [str(count) for count in counts],
            "numBytes": str(shard_bytes[split]),
            "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
        }
        for split, counts in shard_records.items()
        if sum(counts)
    ]
    return _json(
        {
            "name": DATASET_NAME,
            "version": DATASET_VERSION,
            "description": source,
            "fileFormat": "tfrecord",
            "moduleName": "beam_job",
            "supervisedKeys": {"tuple": {"items": [{"featureKey": "feature"}, {"featureKey": "label"}]}},
            "splits": splits,
        }
    )


def features_json(features: Mapping[str, Sequence[int]], classes: int) -> str:
    """``features.json``: the types of the examples' fields as TFDS reads them."""
    fields: dict[str, Any] = {}
    for name, shape in features.items():
        outer, _, inner = name.partition("/")  # TFDS writes a feature within a feature as outer/inner
        if inner:
            fields.setdefault(outer, _features_dict({}))["featuresDict"]["features"][inner] = _tensor_feature(shape)
        else:
            fields[name] = _tensor_feature(shape)
    fields["id"] = {"pythonClassName": f"{_TFDS}.text_feature.Text", "text": {}}
    fields["label"] = {
        "pythonClassName": f"{_TFDS}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(classes)},
    }
    return _json(_features_dict({name: fields[name] for name in sorted(fields)}))


def labels_txt(names: Sequence[str]) -> str:
    """``label.labels.txt``: a name per line, a label's index is its line from 0."""
    return "".join(f"{name}\n" for name in names)


def schema_pbtxt(features: Mapping[str, Sequence[int]], classes: int) -> str:
    """``schema.pbtxt``: the same as a TFX schema (tensorflow_metadata/proto/v0/schema.proto)."""
    fields = {name: _schema_feature(name, "FLOAT", shape) for name, shape in features.items()}
    fields["id"] = _schema_feature("id", "BYTES", (1,))
    domain = f'  int_domain {{ name: "label" min: -1 max: {classes - 1} is_categorical: true }}\n'
    fields["label"] = _schema_feature("label", "INT", (1,), domain)
    return "".join(fields[name] for name in sorted(fields))


def run_json(run: Mapping[str, Any]) -> str:
    """``run.json``: how the dataset came to be; see docs/output.md for its fields."""
    return _json({"format_version": FORMAT_VERSION, **run})


def _features_dict(fields: dict[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{_TFDS}.features_dict.FeaturesDict", "featuresDict": {"features": fields}}


def _tensor_feature(shape: Sequence[int]) -> dict[str, Any]:
    tensor = {"shape": {"dimensions": [str(length) for length in shape]}, "dtype": "float32", "encoding": "none"}
    return {"pythonClassName": f"{_TFDS}.tensor_feature.Tensor", "tensor": tensor}


def _schema_feature(name: str, kind: str, shape: Sequence[int], domain: str = "") -> str:
    dimensions = " ".join(f"dim {{ size: {length} }}" for length in shape)
    return (
        f"feature {{\n"
        f"  name: {json.dumps(name)}\n"
        f"  type: {kind}\n"
        f"  presence {{ min_fraction: 1 min_count: 1 }}\n"
        f"  shape {{ {dimensions} }}\n"
        f"{domain}"
        f"}}\n"
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
