"""What finalisation refuses. Tests with complete runs and with other readers check its output."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from beam_job.core import naming
from beam_job.core.errors import JobFailedError
from beam_job.core.naming import ShardName
from beam_job.core.records import ErrorRow, FeatureRecord
from beam_job.dataset import commit
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extraction.finalisation import RunDescription, finalise
from beam_job.extraction.layout import DatasetLayout
from beam_job.outputs.base import RecordSchema
from beam_job.runtime import storage

RUN = RunDescription(
    facts={"model": {"handle": "m", "outputs": {"feature": [2]}}, "formats": ["tfrecord"]},
    notes=("the labels are the folders below a",),
    extras={".heic": "pip install x"},
    engine_milliseconds={},
    max_error_rate=0.5,
    launched=7,
)
SCHEMA = RecordSchema({"feature": (2,)}, ["cat"])
SHARDS = [ShardName("train", index, 2) for index in range(2)]


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Two committed shards with two records and one error row each."""
    folder = str(tmp_path / "out")
    for shard in SHARDS:
        with commit.new_shard(folder, str(shard), ["tfrecord"], SCHEMA) as new_shard:
            for number in range(2):
                new_shard.add(FeatureRecord(f"{shard.index}-{number}", 0, {"feature": np.ones(2, np.float32)}))
            new_shard.add(ErrorRow(f"{shard.index}-bad", "x.jpg", "read", "NotFoundError", "there is no file at x.jpg"))
        # The first shard is of this run, and the other one of an earlier run.
        stages = dict.fromkeys(("read", "decode", "model", "write", "wall"), 1.0)
        timings = {**stages, "retries": 2, "extracted": 3, "run": RUN.launched - shard.index}
        commit.write_receipt(folder, shard, new_shard.receipt(str(shard), f"fingerprint-{shard.index}", {}, timings))
    return folder


def layout(examples: int = 6) -> DatasetLayout:
    return DatasetLayout({"train": examples}, {"train": 2}, LabelVocabulary(("cat",)))


FINGERPRINTS = {str(shard): f"fingerprint-{shard.index}" for shard in SHARDS}


def is_complete(output: str) -> bool:
    return storage.exists(storage.join(output, naming.SUCCESS))


def test_a_run_with_all_its_examples_is_finalised(output: str) -> None:
    finalise(output, layout(), RUN, FINGERPRINTS)
    assert is_complete(output)


def test_the_work_of_this_run_is_told_from_that_of_all(output: str) -> None:
    finalise(output, layout(), RUN, FINGERPRINTS)
    timings = json.loads(storage.read_bytes(storage.join(output, naming.RUN)))["timings"]
    everything = timings.pop("all_runs")
    assert (timings["run"], timings["extracted"], timings["retries"], timings["stages"]["model"]) == (7, 3, 2, 1)
    assert (everything["extracted"], everything["retries"], everything["stages"]["model"]) == (6, 4, 2)
    later = dataclasses.replace(RUN, launched=9)  # finds nothing to do
    finalise(output, layout(), later, FINGERPRINTS)
    assert json.loads(storage.read_bytes(storage.join(output, naming.RUN)))["timings"]["run"] == 7


def test_notes_and_what_was_passed_over_are_recorded(output: str) -> None:
    finalise(output, dataclasses.replace(layout(), passed_over={".heic": 2, ".txt": 1}), RUN, FINGERPRINTS)
    run = json.loads(storage.read_bytes(storage.join(output, naming.RUN)))
    assert run["passed_over"] == {".heic": 2, ".txt": 1}
    assert run["notes"] == [
        "the labels are the folders below a",
        "3 files passed over: 2 .heic (to read them: pip install x), 1 .txt",
    ]


def test_the_sentence_of_a_failure_shows_one(output: str) -> None:
    with pytest.raises(JobFailedError, match=r"; for instance 0-bad: there is no file at x\.jpg\. All"):
        finalise(output, layout(), dataclasses.replace(RUN, max_error_rate=0.1), FINGERPRINTS)


def test_a_receipt_of_another_run_is_refused(output: str) -> None:
    with pytest.raises(JobFailedError, match=r"train-00001-of-00002 is not from this run"):
        finalise(output, layout(), RUN, {**FINGERPRINTS, str(SHARDS[1]): "fingerprint-of-another-run"})
    assert not is_complete(output)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"shard": 1}'], ids=repr)
def test_a_damaged_receipt_is_refused(output: str, content: bytes | None) -> None:
    path = storage.join(output, SHARDS[0].receipt_name)
    storage.delete([path])
    if content is not None:
        storage.write_bytes(path, content)
    with pytest.raises(JobFailedError, match=r"The receipt of train-00000-of-00002 cannot be read"):
        finalise(output, layout(), RUN, FINGERPRINTS)
    assert not is_complete(output)


def test_a_missing_example_is_refused(output: str) -> None:
    with pytest.raises(JobFailedError, match="7 examples went in, but 4 records and 2 error rows came out"):
        finalise(output, layout(7), RUN, FINGERPRINTS)
    assert not is_complete(output)
