import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.core.errors import CorruptImageError
from beam_job.core.records import Failure, ImageRef, ShardReceipt

failures = st.builds(Failure, st.text(), st.text(), st.text(), st.text(), st.text())
receipts = st.builds(
    ShardReceipt,
    shard=st.text(),
    fingerprint=st.text(),
    records=st.integers(0, 10**6),
    failures=st.lists(failures, max_size=3).map(tuple),
    versions=st.dictionaries(st.text(), st.text(), max_size=3),
    label_counts=st.dictionaries(st.integers(-1, 10**6), st.integers(1, 10**6), max_size=5),
    digest=st.text(),
    size=st.integers(0, 10**12),
    timings=st.dictionaries(st.text(), st.floats(0, 1e6), max_size=4),
)


@given(receipts)
def test_a_receipt_comes_back_from_json(receipt: ShardReceipt) -> None:
    assert ShardReceipt.from_json(json.loads(json.dumps(receipt.to_json()))) == receipt
    assert receipt.images == receipt.records + len(receipt.failures)


def test_a_failure_names_the_image_and_the_error() -> None:
    failure = Failure.of(ImageRef("a", "/a.jpg"), CorruptImageError("expected a whole JPEG"))
    assert failure == Failure("a", "/a.jpg", "decode", "CorruptImageError", "expected a whole JPEG")


def test_an_image_needs_an_id() -> None:
    with pytest.raises(ValueError, match="needs an id"):
        ImageRef("", "/a.jpg")
