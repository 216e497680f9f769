import dataclasses
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_job.core.fingerprints import shard_fingerprint
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, ExampleRef, FeatureRecord, FileDigest, ShardReceipt
from beam_job.dataset import commit
from beam_job.outputs.base import RecordSchema
from beam_job.runtime.framing import read_records
from tests.support.datasets import SUFFIX

SHARD = ShardName("train", 0, 2)
FILE = SHARD.file_name(SUFFIX)
SCHEMA = RecordSchema({"feature": (3,)}, ["x", "y"])
REFS = [ExampleRef("a", "/a.jpg", label="x", version="1"), ExampleRef("b", "/b.jpg", label="y", version="1")]
IDENTITY = {"model": "digest", "labels": ["x", "y"]}


def allowed(refs: Iterable[ExampleRef]) -> list[tuple[ExampleRef, bool]]:
    return [(ref, True) for ref in refs]


def write(output: Path, fingerprint: str = "expected") -> ShardReceipt:
    with commit.new_shard(str(output), str(SHARD), ["tfrecord"], SCHEMA) as new_shard:
        new_shard.add(FeatureRecord("a", 1, {"feature": np.arange(3, dtype=np.float32)}))
        new_shard.add(ErrorRow("b", "/b.jpg", "decode", "CorruptExampleError", "expected a complete JPEG"))
    receipt = new_shard.receipt(str(SHARD), fingerprint, {"a": "1", "b": "2"}, {"wall": 0.5})
    commit.write_receipt(str(output), SHARD, receipt)
    return receipt


def test_a_receipt_accounts_for_the_file(tmp_path: Path) -> None:
    receipt = write(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    assert receipt.files == {FILE: FileDigest(len(content), hashlib.sha256(content).hexdigest())}
    assert len(list(read_records(io.BytesIO(content)))) == receipt.records == 1
    assert receipt.label_counts == {1: 1}
    assert receipt.examples == 2


def test_a_committed_shard_is_found_by_its_fingerprint_only(tmp_path: Path) -> None:
    receipt = write(tmp_path)
    assert commit.find_receipt(str(tmp_path), SHARD, "expected") == receipt
    assert commit.find_receipt(str(tmp_path), SHARD, "other") is None
    assert commit.find_receipt(str(tmp_path), ShardName("train", 1, 2), "expected") is None


def test_a_file_without_a_receipt_is_not_committed(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / SHARD.receipt_name).unlink()
    assert commit.find_receipt(str(tmp_path), SHARD, "expected") is None


def test_a_receipt_without_its_file_is_not_committed(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / FILE).unlink()
    assert commit.find_receipt(str(tmp_path), SHARD, "expected") is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
def test_a_file_of_another_size_is_not_committed(tmp_path: Path, size: int) -> None:
    receipt = write(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes((content * 100)[:size])
    found = commit.find_receipt(str(tmp_path), SHARD, "expected")
    assert found == (receipt if size == len(content) else None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"not json", b'{"shard": 1}', b"\xff", b'{"files": []}'])
def test_a_shard_with_a_damaged_receipt_is_not_committed(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / SHARD.receipt_name).write_bytes(content)
    assert commit.find_receipt(str(tmp_path), SHARD, "expected") is None


def test_an_interrupted_shard_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        commit.new_shard(str(tmp_path), str(SHARD), ["tfrecord"], SCHEMA) as new_shard,
    ):
        new_shard.add(FeatureRecord("a", 0, {"feature": np.zeros(3, np.float32)}))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", [{"id": "c"}, {"uri": "/c.jpg"}, {"label": "y"}, {"version": "2"}, {"problem": "none"}], ids=str
)
def test_every_change_of_an_example_changes_the_fingerprint(change: dict[str, str]) -> None:
    before = shard_fingerprint(IDENTITY, SHARD, allowed(REFS))
    assert shard_fingerprint(IDENTITY, SHARD, allowed([dataclasses.replace(REFS[0], **change), REFS[1]])) != before


def test_whether_an_example_may_be_read_changes_the_fingerprint() -> None:
    before = shard_fingerprint(IDENTITY, SHARD, allowed(REFS))
    assert shard_fingerprint(IDENTITY, SHARD, [(REFS[0], False), (REFS[1], True)]) != before


def test_every_change_of_the_identity_changes_the_fingerprint() -> None:
    before = shard_fingerprint(IDENTITY, SHARD, allowed(REFS))
    assert shard_fingerprint({**IDENTITY, "model": "other"}, SHARD, allowed(REFS)) != before
    assert shard_fingerprint({**IDENTITY, "labels": ["y", "x"]}, SHARD, allowed(REFS)) != before
    assert shard_fingerprint(IDENTITY, ShardName("train", 1, 2), allowed(REFS)) != before
    assert shard_fingerprint(IDENTITY, SHARD, allowed(REFS[:1])) != before
    assert shard_fingerprint(dict(reversed(IDENTITY.items())), SHARD, allowed(REFS)) == before
