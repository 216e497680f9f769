"""The command line as a person meets it: in processes of its own where it matters."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from beam_job.cli.main import COMMANDS, main
from tests.support.small_models import save_reusable


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = save_reusable(tmp_path_factory.mktemp("means") / "model")
    return [f"--model={path}", "--input_range=0,1"]


def beam_job_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "beam_job", *arguments], capture_output=True, text=True, timeout=300)


def assert_one_sentence(error: str) -> None:
    assert error.startswith("beam-job: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    assert "while running" not in error
    assert "Traceback" not in error


WRONG = {
    "no such command": (["extrakt"], "There is no command 'extrakt'; did you mean 'extract'?"),
    "no such option": (["extract", "--input=i", "--output=o", "--batch=3"], "There is no option '--batch=3'"),
    "an abbreviation": (["extract", "--inp=i", "--output=o"], "--input is required"),
    "no input": (["extract", "--output=o"], "--input is required"),
    "input is nowhere": (["extract", "--input=/no/where", "--output=o"], "there is nothing at '/no/where'"),
    "a bad number": (["extract", "--input=.", "--output=o", "--batch_size=x"], "--batch_size is written N, found 'x'"),
    "a bad split": (["extract", "--input=.", "--output=o", "--splits=a=2"], "the shares sum to 2, not to 1"),
    "a value is missing": (["extract", "--input"], "Argument --input: expected one argument"),
    "no config": (["extract", "--config=/no/where.yaml"], "There is no file at --config=/no/where.yaml."),
    "a bad runner option": (["extract", "--input=.", "--output=o", "--direct_num_workers=x"], "invalid int value: 'x'"),
    "an option of samples": (["samples", "d", "--sed=1"], "There is no option '--sed=1'"),
    "no samples": (["samples", "d", "--examples_per_class=0"], "--examples_per_class is at least 1, found '0'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, words = WRONG[case]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert words in error


@pytest.mark.parametrize("level", ["loud", "10"])
def test_an_unknown_log_level_in_a_file(level: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(f"input: {tmp_path}\noutput: {tmp_path / 'out'}\nlog_level: {level}\n")
    assert main(["plan", f"--config={tmp_path / 'job.yaml'}"]) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "--log_level is one of debug, info, warning, error, found " in error


def test_a_model_that_is_nowhere_is_one_sentence_in_a_process_of_its_own(few: Path, tmp_path: Path) -> None:
    done = beam_job_process("extract", f"--input={few}", f"--output={tmp_path / 'out'}", "--model=gs//typo/model")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert "a SavedModel, a .keras or .h5 file, keras:NAME or a TF Hub handle" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_in_the_workers_is_one_sentence_and_exit_code_1(
    tmp_path: Path, small_model: list[str]
) -> None:
    (tmp_path / "in/cat").mkdir(parents=True)
    (tmp_path / "in/cat/a.jpg").write_bytes(b"not an image")
    done = beam_job_process("extract", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", *small_model)
    assert done.returncode == 1
    assert_one_sentence(done.stderr)
    assert (
        "None of the 1 examples gave features (1 UnknownFormatError); for instance cat/a.jpg: expected" in done.stderr
    )
    assert "found text that begins with 'not an image'. All are in errors.jsonl." in done.stderr


def test_a_run_ends_with_a_summary_and_the_command_that_loads_it(
    few: Path, tmp_path: Path, small_model: list[str]
) -> None:
    output = tmp_path / "out"
    done = beam_job_process("extract", "--input", str(few), "--output", str(output), *small_model)
    assert done.returncode == 0, done.stderr
    for words in ("cat", "coins", "40 examples: 40 with features", "0 errors", "examples/s", "time in threads: read"):
        assert words in done.stdout
    command = done.stdout.split("load it with:")[1].strip()
    assert command.startswith("python -c ")
    loaded = subprocess.run(
        command.replace("python", sys.executable, 1),
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "shape=(32, 3)" in loaded.stdout


def test_json_for_machines(few: Path, tmp_path: Path, small_model: list[str]) -> None:
    done = beam_job_process("extract", f"--input={few}", f"--output={tmp_path / 'out'}", "--json", *small_model)
    result = json.loads(done.stdout)
    assert (result["examples"], result["records"], result["errors"]) == (40, 40, {})
    assert result["splits"]["train"]["classes"] == {"cat": 10, "coffee": 10, "coins": 10, "rocket": 10}


def test_options_from_a_file_and_from_an_earlier_run(
    few: Path, tmp_path: Path, small_model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "job.yaml"
    model = small_model[0].partition("=")[2]
    settings = {"input": str(few), "model": model, "input_range": "0,1", "num_shards": 3, "overwrite": True}
    config.write_text(yaml.safe_dump(settings))
    assert main(["extract", f"--config={config}", f"--output={tmp_path / 'one'}"]) == 0
    assert len(list((tmp_path / "one").glob("*.tfrecord"))) == 3
    run = tmp_path / "one" / "run.json"
    assert main(["extract", f"--config={run}", f"--output={tmp_path / 'two'}"]) == 0
    for shard in (tmp_path / "one").glob("*.tfrecord"):
        assert (tmp_path / "two" / shard.name).read_bytes() == shard.read_bytes()
    assert main(["extract", f"--config={run}", f"--output={tmp_path / 'three'}", "--num_shards=2"]) == 0
    assert len(list((tmp_path / "three").glob("*.tfrecord"))) == 2


@pytest.mark.parametrize("content", ["- a\n- b\n", "just words", "{", "\x00"])
def test_a_config_that_is_none(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.yaml").write_text(content)
    assert main(["extract", f"--config={tmp_path / 'job.yaml'}"]) == 2
    assert_one_sentence(capsys.readouterr().err)


def test_an_interrupt_ends_it_with_130_and_leaves_no_success(samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "beam_job", "extract", f"--input={samples}", f"--output={output}"]
    # Many shards, so that most of the work is still to do when the first receipt is there. The signal is set to count,
    # since a suite that a shell starts in the background inherits that it is ignored.
    process = subprocess.Popen(
        [*command, "--num_shards=100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while process.poll() is None and not list(output.glob("receipts/*.json")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error.endswith("beam-job: interrupted.\n")
    assert "Traceback" not in error
    assert not (output / "_SUCCESS").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=str)
def test_help_loads_neither_beam_nor_tensorflow(arguments: list[str]) -> None:
    code = (
        "import sys; from beam_job.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'apache_beam', 'numpy', 'keras', 'google.cloud.storage'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_importing_the_package_loads_neither() -> None:
    code = "import sys, beam_job; assert not {'tensorflow', 'apache_beam', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
