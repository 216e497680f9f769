import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.core import naming
from beam_job.core.naming import ShardName

SUFFIXES = (".tfrecord", ".parquet")
shards = st.builds(
    lambda split, count, part: ShardName(split, int(part * (count - 1)), count),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True),
    st.integers(1, 10**7),
    st.floats(0, 1),
)


@given(shards)
def test_parsing_a_name_returns_the_shard(shard: ShardName) -> None:
    assert ShardName.parse(str(shard)) == shard
    assert naming.is_ours(shard.file_name(".tfrecord"), SUFFIXES)
    assert naming.is_ours(shard.receipt_name, SUFFIXES)


@pytest.mark.parametrize(
    "name", ["train", "train-0-of-1", "train-00002-of-00002", "train-00000-of-00001.tfrecord", "x"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        ShardName.parse(name)


@pytest.mark.parametrize(
    "path",
    [
        "photo.jpg",
        "notes/run.json",
        "receipts/notes.txt",
        "train/00000.tfrecord",
        "model.tmp",
        "train-00000-of-00001.other",
    ],
)
def test_other_files_are_not_ours(path: str) -> None:
    assert not naming.is_ours(path, SUFFIXES)


@pytest.mark.parametrize("path", ["_SUCCESS", "run.json", "errors.jsonl", ".work/layout.json", "run.json.tmp-0123abcd"])
def test_metadata_and_leftovers_are_ours(path: str) -> None:
    assert naming.is_ours(path, SUFFIXES)
