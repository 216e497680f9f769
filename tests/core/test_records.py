import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.core.errors import CorruptExampleError
from beam_job.core.records import ErrorRow, ExampleRef, FileDigest, ShardReceipt

error_rows = st.builds(ErrorRow, st.text(), st.text(), st.text(), st.text(), st.text())
receipts = st.builds(
    ShardReceipt,
    shard=st.text(),
    fingerprint=st.text(),
    records=st.integers(0, 10**6),
    error_rows=st.lists(error_rows, max_size=3).map(tuple),
    example_fingerprints=st.dictionaries(st.text(), st.text(), max_size=3),
    label_counts=st.dictionaries(st.integers(-1, 10**6), st.integers(1, 10**6), max_size=5),
    files=st.dictionaries(st.text(), st.builds(FileDigest, st.integers(0, 10**12), st.text()), max_size=3),
    timings=st.dictionaries(st.text(), st.floats(0, 1e6), max_size=4),
)


@given(receipts)
def test_a_receipt_round_trips_through_json(receipt: ShardReceipt) -> None:
    assert ShardReceipt.from_json(json.loads(json.dumps(receipt.to_json()))) == receipt
    assert receipt.examples == receipt.records + len(receipt.error_rows)


def test_an_error_row_names_the_example_and_the_error() -> None:
    row = ErrorRow.of(ExampleRef("a", "/a.jpg"), CorruptExampleError("expected a complete JPEG"))
    assert row == ErrorRow("a", "/a.jpg", "decode", "CorruptExampleError", "expected a complete JPEG")


def test_an_example_needs_an_id() -> None:
    with pytest.raises(ValueError, match="needs an id"):
        ExampleRef("", "/a.jpg")
