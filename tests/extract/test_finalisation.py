"""The last step: what it refuses. What it writes is looked at in whole runs and by other people's readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beam_job.core import naming
from beam_job.core.errors import JobFailedError
from beam_job.core.naming import ShardName
from beam_job.core.records import Failure, FeatureRecord
from beam_job.dataset import commit
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extract.finalisation import RunDescription, finalise
from beam_job.extract.layout import DatasetPlan
from beam_job.runtime import storage

RUN = RunDescription({}, {"handle": "m"}, {}, {}, {}, {}, {"feature": (2,)}, {}, 0.5)
SHARDS = [ShardName("train", index, 2) for index in range(2)]


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Two committed shards, of two records and one failure each."""
    folder = str(tmp_path / "out")
    for shard in SHARDS:
        with commit.new_shard(folder, shard) as file:
            for number in range(2):
                file.add(FeatureRecord(f"{shard.index}-{number}", 0, {"feature": np.ones(2, np.float32)}))
            file.add(Failure(f"{shard.index}-bad", "x.jpg", "read", "NotFoundError", "there is no file at x.jpg"))
        stages = dict.fromkeys(("read", "decode", "model", "write", "wall", "retries"), 0.0)
        commit.write_receipt(folder, shard, file.receipt(shard, f"print-{shard.index}", {}, stages))
    return folder


def plan(images: int = 6) -> DatasetPlan:
    return DatasetPlan({"train": images}, {"train": 2}, LabelVocabulary(("cat",)))


PRINTS = {shard.file_name: f"print-{shard.index}" for shard in SHARDS}


def succeeded(output: str) -> bool:
    return storage.exists(storage.join(output, naming.SUCCESS))


def test_all_that_was_planned_is_there(output: str) -> None:
    finalise(output, plan(), RUN, PRINTS)
    assert succeeded(output)


def test_a_receipt_of_another_run_is_refused(output: str) -> None:
    with pytest.raises(JobFailedError, match=r"train-00001-of-00002\.tfrecord is not of this run"):
        finalise(output, plan(), RUN, {**PRINTS, SHARDS[1].file_name: "print-of-another"})
    assert not succeeded(output)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"shard": 1}'], ids=repr)
def test_a_receipt_that_cannot_be_read_is_refused(output: str, content: bytes | None) -> None:
    path = storage.join(output, SHARDS[0].receipt_name)
    storage.delete([path])
    if content is not None:
        storage.write_bytes(path, content)
    with pytest.raises(JobFailedError, match=r"The receipt of train-00000-of-00002\.tfrecord cannot be read"):
        finalise(output, plan(), RUN, PRINTS)
    assert not succeeded(output)


def test_an_image_that_nobody_accounts_for_is_refused(output: str) -> None:
    with pytest.raises(JobFailedError, match="7 images went in, but 4 records and 2 error rows came out"):
        finalise(output, plan(7), RUN, PRINTS)
    assert not succeeded(output)
