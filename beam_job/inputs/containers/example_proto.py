"""Reads ``tf.train.Example`` without TensorFlow: the messages are described here and parsed by protobuf itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

Values = Sequence[bytes] | Sequence[float] | Sequence[int]
Features = Mapping[str, Values]


def parse_example(data: bytes) -> Features:
    """Feature to its values: bytes, floats or integers.

    Raises:
      ValueError: the bytes are no such message.
    """
    from google.protobuf.message import DecodeError

    message = _example_class()()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    features = message.features.feature
    return {name: _values(features[name]) for name in sorted(features)}


def _values(feature: Any) -> Values:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


@functools.cache
def _example_class() -> Any:
    """The class of the message, as tensorflow/core/example/{example,feature}.proto define it.

    In a pool of its own: TensorFlow, which may be loaded in the same process, registers the same names.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="beam_job", syntax="proto3")
    lists = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT, "Int64List": field.TYPE_INT64}
    for name, kind in lists.items():
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    kinds = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    for number, (name, kind) in enumerate(kinds, 1):
        feature.field.add(name=name, number=number, oneof_index=0, **_message(kind))
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, **_message("Feature"))
    features.field.add(
        name="feature", number=1, **(_message("Features.FeatureEntry") | {"label": field.LABEL_REPEATED})
    )
    file.message_type.add(name="Example").field.add(name="features", number=1, **_message("Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("beam_job.Example"))


def _message(name: str) -> dict[str, Any]:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    return {
        "type": FieldDescriptorProto.TYPE_MESSAGE,
        "type_name": f".beam_job.{name}",
        "label": FieldDescriptorProto.LABEL_OPTIONAL,
    }
