"""Encodes a feature record as a serialized ``tf.train.Example``, without TensorFlow and without protobuf.

The bytes are equal to those of ``SerializeToString(deterministic=True)``: map entries in the order of their keys,
packed numbers. Field numbers are those of tensorflow/core/example/{example,feature}.proto; the wire format is
protobuf's (protobuf.dev/programming-guides/encoding).

    Example  { Features features = 1 }
    Features { map<string, Feature> feature = 1 }
    Feature  { oneof: BytesList bytes_list = 1, FloatList float_list = 2, Int64List int64_list = 3 }
    each list{ repeated value = 1, numbers packed }
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.labels import LabelKind, StoredLabel
from beam_job.core.records import FeatureRecord, Float32Array

# Tags of length-delimited fields: field number << 3 | wire type 2.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"


def pack_example(record: FeatureRecord, kept: Sequence[str] = ()) -> bytes:
    """The record as a ``tf.train.Example``.

    It has the features, ``id`` (UTF-8 bytes), the label, which is ``label`` (int64), ``labels`` (int64, any number of
    them) or ``target`` (float32), and the columns that are kept (UTF-8 bytes).

    Args:
      record: The record; its arrays are stored row-major ("C" order), their shapes are in the metadata.
      kept: The names of the columns that are kept.

    Returns:
      The serialized message.
    """
    entries = {name: _float_list(values) for name, values in record.features.items()}
    entries |= {name: _text(value) for name, value in zip(kept, record.kept, strict=True)}
    entries["id"] = _text(record.id)
    if isinstance(record.label, float):
        entries["target"] = _float_list(np.array([record.label]))
    elif isinstance(record.label, tuple):
        entries["labels"] = _int64_list(record.label)
    else:
        entries["label"] = _int64_list((record.label,))
    body = b"".join(_entry(name, entries[name]) for name in sorted(entries))
    return _delimited(_FIELD_1, body)


def unpack_example(data: bytes, kept: Sequence[str] = ()) -> FeatureRecord:
    """The record that :func:`pack_example` encoded, with its features flattened.

    Args:
      data: The serialized message.
      kept: The names of the columns that are kept.

    Raises:
      ValueError: the bytes are not such an example.
    """
    texts: dict[str, str] = {}
    features: dict[str, Float32Array] = {}
    label: StoredLabel | None = None
    try:
        for entry in _fields(_only_field(data)):
            encoded, feature = _fields(entry)
            name, content = encoded.decode("utf-8"), _only_field(feature)
            values = _only_field(content) if content else b""
            if feature[:1] == _FLOAT_LIST:
                features[name] = np.frombuffer(values, "<f4")
            elif feature[:1] == _BYTES_LIST:
                texts[name] = values.decode("utf-8")
            else:
                numbers = tuple(_integers(values))
                label = numbers if name == LabelKind.MULTI.field else numbers[0]
        if LabelKind.TARGET.field in features:
            label = float(features.pop(LabelKind.TARGET.field)[0])
    except IndexError:
        raise ValueError("an example that is truncated") from None
    if not texts.get("id") or label is None:
        raise ValueError("an example without an id or a label")
    try:
        return FeatureRecord(texts["id"], label, features, tuple(texts[name] for name in kept))
    except KeyError as error:
        raise ValueError(f"an example without the column {error}") from None


def _integers(values: bytes) -> Iterator[int]:
    """The numbers of an int64 list, packed."""
    place = 0
    while place < len(values):
        number, place = _read_varint(values, place)
        yield number - (1 << 64) if number >> 63 else number


def _only_field(data: bytes) -> bytes:
    (content,) = _fields(data)
    return content


def _fields(data: bytes) -> list[bytes]:
    """The contents of a message whose fields are all length-delimited."""
    found, place = [], 0
    while place < len(data):
        if data[place] & 7 != 2:
            raise ValueError(f"an example with the tag {data[place]}, which is not length-delimited")
        length, place = _read_varint(data, place + 1)
        if place + length > len(data):
            raise ValueError("an example that is truncated")
        found.append(data[place : place + length])
        place += length
    return found


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in base 128, lowest digits first, and the position after it."""
    value, shift = 0, 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _entry(name: str, feature: bytes) -> bytes:
    return _delimited(_FIELD_1, _delimited(_FIELD_1, name.encode("utf-8")) + _delimited(_FIELD_2, feature))


def _text(value: str) -> bytes:
    return _delimited(_BYTES_LIST, _delimited(_FIELD_1, value.encode("utf-8")))


def _int64_list(values: Iterable[int]) -> bytes:
    packed = b"".join(_varint(value & 0xFFFFFFFFFFFFFFFF) for value in values)
    return _delimited(_INT64_LIST, _delimited(_FIELD_1, packed) if packed else b"")


def _float_list(values: npt.NDArray[np.floating[Any]]) -> bytes:
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
