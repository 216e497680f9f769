import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beam_job.core.records import FeatureRecord
from beam_job.outputs.tfrecord.examples import pack_example, unpack_example

arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40))
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=200)
records = st.builds(
    FeatureRecord,
    id=names,
    label=st.integers(-(2**63), 2**63 - 1),
    features=st.dictionaries(names.map("feature/".__add__), arrays, min_size=1, max_size=3),
)


def pack_with_protobuf(record: FeatureRecord) -> bytes:
    fields = {
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[record.id.encode()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[record.label])),
    }
    for name, values in record.features.items():
        fields[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel().tolist()))
    example = tf.train.Example(features=tf.train.Features(feature=fields))
    return bytes(example.SerializeToString(deterministic=True))


@given(records)
def test_bytes_match_protobuf(record: FeatureRecord) -> None:
    # If one name is a prefix of another, protobuf sometimes writes the longer one first.
    assume(not any(two.startswith(one) for one, two in itertools.pairwise(sorted(record.features))))
    assert pack_example(record) == pack_with_protobuf(record)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 4095, 1280, 7 * 7 * 1280])
def test_lengths_at_the_edges_of_a_varint(length: int) -> None:
    record = FeatureRecord("x" * 127, -1, {"feature": np.arange(length, dtype=np.float32)})
    assert pack_example(record) == pack_with_protobuf(record)


def test_values_are_stored_row_by_row_whatever_their_layout_in_memory() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert pack_example(FeatureRecord("a", 0, {"feature": values})) == pack_example(
        FeatureRecord("a", 0, {"feature": np.asfortranarray(values)})
    )


@given(records)
def test_unpacking_returns_the_record_with_flat_features(record: FeatureRecord) -> None:
    found = unpack_example(pack_example(record))
    assert (found.id, found.label) == (record.id, record.label)
    assert set(found.features) == set(record.features)
    for name, values in record.features.items():
        np.testing.assert_array_equal(found.features[name], values.ravel())


@given(st.binary(max_size=60))
def test_bytes_that_are_not_an_example_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_example(data)


@given(records, st.data())
def test_a_truncated_example_is_refused(record: FeatureRecord, data: st.DataObject) -> None:
    packed = pack_example(record)
    with pytest.raises(ValueError):
        unpack_example(packed[: data.draw(st.integers(0, len(packed) - 1))])
