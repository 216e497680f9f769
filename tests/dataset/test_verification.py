import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import beam_job
from beam_job.cli.main import main
from beam_job.core import naming
from beam_job.core.errors import InputError
from beam_job.core.records import FeatureRecord
from beam_job.outputs.tfrecord.examples import pack_example
from beam_job.runtime.framing import frame, read_records


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the session's dataset, to damage."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))


def first_shard(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("train-*.tfrecord"))))


def test_a_complete_dataset(dataset: Path) -> None:
    result = beam_job.verify(str(dataset))
    assert result.problems == ()
    assert result.records == 1008
    assert result.shards == len(list(dataset.glob("*.tfrecord")))


def flip_a_bit(folder: Path) -> None:
    content = bytearray(first_shard(folder).read_bytes())
    content[2000] ^= 4
    first_shard(folder).write_bytes(content)


def truncate(folder: Path) -> None:
    first_shard(folder).write_bytes(first_shard(folder).read_bytes()[:-100])


def remove_a_shard(folder: Path) -> None:
    first_shard(folder).unlink()


def remove_a_receipt(folder: Path) -> None:
    next((folder / naming.RECEIPTS).iterdir()).unlink()


def damage_a_receipt(folder: Path) -> None:
    next((folder / naming.RECEIPTS).iterdir()).write_text("{}")


def rewrite(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Rewrites a shard with other records and valid framing."""
    path = first_shard(folder)
    with path.open("rb") as file:
        records = list(read_records(file))
    path.write_bytes(b"".join(map(frame, change(records))))


def repeat_a_record(folder: Path) -> None:
    rewrite(folder, lambda records: [records[0], *records])


def swap_records(folder: Path) -> None:
    rewrite(folder, lambda records: [records[1], records[0], *records[2:]])


def write_nan(folder: Path) -> None:
    bad = FeatureRecord("x", 0, {"feature": np.full(1280, np.nan, np.float32)})
    rewrite(folder, lambda records: [pack_example(bad), *records[1:]])


def write_other_length(folder: Path) -> None:
    bad = FeatureRecord("x", 0, {"feature": np.zeros(7, np.float32)})
    rewrite(folder, lambda records: [pack_example(bad), *records[1:]])


def write_other_label(folder: Path) -> None:
    bad = FeatureRecord("x", 12, {"feature": np.zeros(1280, np.float32)})
    rewrite(folder, lambda records: [pack_example(bad), *records[1:]])


def write_an_invalid_example(folder: Path) -> None:
    rewrite(folder, lambda records: [b"\x0a\x05abc", *records[1:]])


def add_a_stray_file(folder: Path) -> None:
    (folder / "train-00000-of-00099.tfrecord").write_bytes(b"")


def change_the_labels(folder: Path) -> None:
    (folder / naming.LABELS).write_text("dog\n" * 12)


def change_dataset_info(folder: Path) -> None:
    info = json.loads((folder / naming.DATASET_INFO).read_text())
    info["splits"][0]["shardLengths"][0] = "1"
    (folder / naming.DATASET_INFO).write_text(json.dumps(info, indent=2) + "\n")


def remove_success(folder: Path) -> None:
    (folder / naming.SUCCESS).unlink()


def add_an_error_row(folder: Path) -> None:
    row = {"id": "x", "uri": "x", "stage": "read", "error": "ReadError", "message": "x"}
    (folder / naming.ERRORS).write_text(json.dumps(row) + "\n")


def change_a_count(folder: Path) -> None:
    run = json.loads((folder / naming.RUN).read_text())
    run["examples"] += 1
    (folder / naming.RUN).write_text(json.dumps(run))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, "record 0 is damaged"),
        (flip_a_bit, "does not match run.json"),
        (truncate, "is truncated"),
        (remove_a_shard, "the file is missing"),
        (remove_a_receipt, "the receipt is missing"),
        (damage_a_receipt, "the receipt is damaged"),
        (repeat_a_record, "is out of order, or repeated"),
        (repeat_a_record, "1 ids are repeated in the dataset"),
        (swap_records, "is out of order, or repeated"),
        (write_nan, "'x' has NaN or infinity"),
        (write_other_length, "'x' has other features than {'feature': (1280,)}"),
        (write_other_label, "'x' has the label 12, outside of -1 to 11"),
        (write_an_invalid_example, "an example that is truncated"),
        (add_a_stray_file, "train-00000-of-00099.tfrecord: a file that does not belong here"),
        (change_the_labels, "label.labels.txt: does not match run.json"),
        (change_dataset_info, "dataset_info.json: does not match run.json"),
        (remove_success, "_SUCCESS: missing, so the run is not complete"),
        (add_an_error_row, "errors.jsonl: the rows do not match run.json"),
        (change_a_count, "1009 examples went in, but there are 1008 records and 0 error rows"),
    ],
)
def test_every_damage_is_reported_in_a_line(
    copy: Path, damage: Callable[[Path], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy)
    assert main(["verify", str(copy)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(message in line for line in lines), lines


def test_on_the_command_line(dataset: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["verify", str(dataset)]) == 0
    assert "is complete: 1,008 records in" in capsys.readouterr().out
    assert main(["verify", str(dataset), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    assert main(["verify", str(tmp_path)]) == 2
    assert "There is no dataset at" in capsys.readouterr().err
    with pytest.raises(InputError):
        beam_job.verify(str(tmp_path))
