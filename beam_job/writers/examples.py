"""Packs a feature record as a serialized ``tf.train.Example``, without TensorFlow and without protobuf.

The bytes are those of ``SerializeToString(deterministic=True)``: map entries in the order of their keys, packed
numbers. Field numbers are those of tensorflow/core/example/{example,feature}.proto; the wire format is protobuf's
(protobuf.dev/programming-guides/encoding).

    Example  { Features features = 1 }
    Features { map<string, Feature> feature = 1 }
    Feature  { oneof: BytesList bytes_list = 1, FloatList float_list = 2, Int64List int64_list = 3 }
    each list{ repeated value = 1, numbers packed }
"""

from __future__ import annotations

import numpy as np

from beam_job.records import FeatureRecord, Float32Array

# Tags of length-delimited fields: field number << 3 | wire type 2.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"


def pack_example(record: FeatureRecord) -> bytes:
    """The record as a ``tf.train.Example`` with its features, ``id`` (UTF-8 bytes) and ``label`` (int64).

    Args:
      record: The record; its arrays are stored row by row ("C" order), their shapes are in the metadata.

    Returns:
      The serialized message.
    """
    entries = {name: _float_list(values) for name, values in record.features.items()}
    entries["id"] = _delimited(_BYTES_LIST, _delimited(_FIELD_1, record.id.encode("utf-8")))
    entries["label"] = _delimited(_INT64_LIST, _delimited(_FIELD_1, _varint(record.label & 0xFFFFFFFFFFFFFFFF)))
    body = b"".join(_entry(name, entries[name]) for name in sorted(entries))
    return _delimited(_FIELD_1, body)


def _entry(name: str, feature: bytes) -> bytes:
    return _delimited(_FIELD_1, _delimited(_FIELD_1, name.encode("utf-8")) + _delimited(_FIELD_2, feature))


def _float_list(values: Float32Array) -> bytes:
    raw = np.ascontiguousarray(values, "<f4").tobytes()
    return _delimited(_FLOAT_LIST, _delimited(_FIELD_1, raw) if raw else b"")


def _delimited(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
