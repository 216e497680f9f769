import json
from pathlib import Path

import pytest

from beam_job.beam.progress import Lines, Watch, show_progress
from beam_job.core import naming
from beam_job.core.metrics import EXAMPLES_DONE


def test_progress_in_this_process_counts_examples(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path), in_process=True)
    assert watch.look() == (0, None)
    (tmp_path / naming.WORK).mkdir()
    (tmp_path / naming.LAYOUT).write_text(json.dumps({"examples": {"train": 30, "test": 10}, "shards": {"train": 4}}))
    EXAMPLES_DONE.add(7)
    assert watch.look() == (7, 40)


def test_progress_in_other_processes_counts_receipts(tmp_path: Path) -> None:
    (tmp_path / naming.WORK).mkdir()
    (tmp_path / naming.LAYOUT).write_text(json.dumps({"examples": {"train": 40}, "shards": {"train": 4}}))
    watch = Watch(str(tmp_path), in_process=False)
    assert watch.look() == (0, 40)
    (tmp_path / naming.RECEIPTS).mkdir()
    (tmp_path / naming.RECEIPTS / "train-00000-of-00004.json").write_text("{}")
    assert watch.look() == (10, 40)


def test_lines_show_progress_throughput_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((100.0, 105.0, 120.0))
    monkeypatch.setattr("beam_job.beam.progress.time.monotonic", lambda: next(clock))
    lines = Lines()
    lines.update(10, 100)
    lines.update(40, 100)
    assert capsys.readouterr().err == "40 of 100 examples, 2.0 examples/s, 30 s left\n"


def test_an_error_in_the_block_is_raised(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), show_progress(str(tmp_path), in_process=True):
        raise RuntimeError
