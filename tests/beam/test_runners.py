"""Presets, and the errors for options that a runner needs and that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import beam_job
from beam_job.beam import runners
from beam_job.beam.failures import own_error
from beam_job.beam.presets import PRESETS
from beam_job.core.errors import UsageError
from beam_job.runtime.cores import available_cores

DATAFLOW = ["--project=p", "--region=europe-west1", "--temp_location=gs://b/tmp"]


@pytest.mark.parametrize(
    ("given", "runner"),
    [
        ("flink", "FlinkRunner"),
        ("DATAFLOWRUNNER", "DataflowRunner"),
        ("direct", "FnApiRunner"),
        ("apache_beam.runners.runner.PipelineRunner", "apache_beam.runners.runner.PipelineRunner"),
    ],
)
def test_runners_have_one_spelling(given: str, runner: str) -> None:
    assert runners._runner_name(given) == runner


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("FlinkRuner", "There is no --runner=FlinkRuner; did you mean 'FlinkRunner'"),
        ("no.such.Runner", "There is no --runner=no.such.Runner: No module named 'no'"),
    ],
)
def test_an_unknown_runner_is_refused(given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        runners.beam_options([f"--runner={given}"])


def test_a_pattern_that_the_shell_has_expanded_is_to_be_quoted() -> None:
    with pytest.raises(UsageError, match=r"'b.jpg' belongs to no option. .* quote the pattern"):
        runners.beam_options(["b.jpg", "c.jpg"])


@pytest.mark.parametrize("on", PRESETS)
def test_every_preset_consists_of_beam_options(on: str, tmp_path: Path) -> None:
    jar = tmp_path / "server.jar"
    jar.touch()
    needed = {
        "local": [],
        "flink": ["--flink_master=localhost:8081", f"--flink_job_server_jar={jar}"],
        "spark": [f"--spark_job_server_jar={jar}"],
        "dataflow": [*DATAFLOW, "--sdk_container_image=image"],
    }
    options = runners.beam_options([*PRESETS[on], *needed[on]]).get_all_options()
    assert options["runner"] == {"local": "FnApiRunner"}.get(on, f"{on.capitalize()}Runner")


def test_explicit_options_override_a_preset() -> None:
    arguments = [*PRESETS["dataflow"], *DATAFLOW, "--sdk_container_image=image", "--machine_type=n1-standard-4"]
    assert runners.beam_options(arguments).get_all_options()["machine_type"] == "n1-standard-4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (PRESETS["flink"], "--flink_master=HOST:8081"),
        (["--runner=FlinkRunner", "--flink_master=h:1"], "--on=flink stands for PROCESS"),
        (["--runner=FlinkRunner", "--flink_master=h:1", "--environment_type=PROCESS"], '{"command": '),
        (["--runner=FlinkRunner", "--flink_master=h:1", "--environment_type=EXTERNAL"], "address of the worker pool"),
        (["--runner=FlinkRunner", "--flink_job_server_jar=/none.jar"], "no file at --flink_job_server_jar=/none.jar"),
        (["--runner=PortableRunner"], "--job_endpoint=HOST:PORT"),
        (["--runner=SparkRunner"], "container, which does not have beam_job"),
        (["--runner=DataflowRunner"], "needs --project and --region and --temp_location=gs://..."),
        (["--runner=DataflowRunner", *DATAFLOW], "--sdk_container_image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_missing_options_are_reported(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners.shutil, "which", lambda _: "/usr/bin/java")
    with pytest.raises(UsageError) as caught:
        runners.beam_options(arguments)
    assert message in str(caught.value)


def test_flink_needs_java_for_the_job_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="needs Java"):
        runners.beam_options([*PRESETS["flink"], "--flink_master=localhost:8081"])


def test_dataflow_refuses_local_paths(few: Path, tmp_path: Path) -> None:
    options = [*DATAFLOW, "--sdk_container_image=image"]
    with pytest.raises(UsageError, match="expected --input=gs://"):
        beam_job.extract(str(few), "gs://bucket/out", on="dataflow", beam_options=options)
    with pytest.raises(UsageError, match="expected --output=gs://"):
        beam_job.extract("gs://bucket/*.jpg", str(tmp_path / "out"), on="dataflow", beam_options=options)


def test_a_preset_prints_its_options(few: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    beam_job.extract(str(few), str(tmp_path / "out"), on="local", progress=True)
    assert "--on=local stands for --runner=FnApiRunner" in capfd.readouterr().err
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert "on" not in recorded


@pytest.mark.parametrize(
    ("arguments", "processes"),
    [
        ([], 1),
        (["--direct_num_workers=4", "--direct_running_mode=multi_threading"], 1),
        (["--direct_num_workers=4", "--direct_running_mode=multi_processing"], 4),
        (["--runner=PortableRunner", "--job_endpoint=h:1", "--environment_type=LOOPBACK"], 1),
        (["--runner=DataflowRunner", *DATAFLOW, "--sdk_container_image=image"], 1),
    ],
    ids=str,
)
def test_the_number_of_processes_per_machine(arguments: list[str], processes: int) -> None:
    assert runners.processes_per_machine(runners.beam_options(arguments)) == processes


def test_the_cpu_quota_of_a_container_limits_the_cores(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    all_cores = available_cores(str(tmp_path / "none"))
    for content, cores in (("100000 100000", 1), ("50000 100000", 1), ("max 100000", all_cores)):
        quota.write_text(content)
        assert available_cores(str(quota)) == cores


def test_a_failed_runner_is_reported_in_one_sentence() -> None:
    connection_error = RuntimeError(
        "Pipeline job-1 failed in state FAILED: java.net.ConnectException: Connection refused"
    )
    assert str(own_error(connection_error)).startswith(
        "The runner ended the run as FAILED: java.net.ConnectException: Connection refused"
    )
    bug = RuntimeError(
        "Pipeline job-1 failed in state FAILED: java.lang.RuntimeException: Error received from SDK harness\n"
        'Traceback (most recent call last):\n  File "x.py", line 1\nZeroDivisionError: division by zero\n'
    )
    assert "FAILED: ZeroDivisionError: division by zero" in str(own_error(bug))
    dataflow = RuntimeError("Dataflow pipeline failed. State: FAILED, Error:\nWorkflow failed.")
    assert str(own_error(dataflow)).startswith("The runner ended the run as FAILED: Workflow failed. Its own logs")
