"""What the launcher submits to Dataflow, received by a stub of its API. No test runs on the service itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from beam_job.cli.main import main
from beam_job.core.options import extract_fields
from launch.dataflow.make_metadata import LEFT_OUT, metadata
from tests.support.bucket import Bucket
from tests.support.dataflow import Dataflow, serve_dataflow

pytestmark = pytest.mark.timeout(180)
LAUNCH = Path(__file__).parent.parent.parent / "launch" / "dataflow"
# Dataflow's format of an exception in a worker.
WORKER_ERROR = """Error message from worker: generic::unknown: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1, in apache_beam.runners.common.DoFnRunner.process
beam_job.core.errors.InputError: Expected a label in every row. [while running 'Compute layout/Tally-ptransform-22']
"""
STEPS = ("List examples", "Compute layout", "Extract shards", "Finalise")


@pytest.fixture(scope="module")
def dataflow() -> Iterator[Dataflow]:
    with serve_dataflow() as service:
        yield service


@pytest.fixture(scope="module")
def photographs(bucket: Bucket, few: Path) -> str:
    for path in sorted(few.glob("cat/*.jpg"))[:2]:
        bucket.write(f"photos/cat/{path.name}", path.read_bytes())
    return bucket.url("photos")


def steps(bucket: Bucket, url: str) -> dict[str, Any]:
    """The steps of a staged pipeline by full name."""
    pipeline = beam_runner_api_pb2.Pipeline.FromString(bucket.read(url.removeprefix(f"gs://{bucket.name}/")))
    return {step.unique_name: step for step in pipeline.components.transforms.values()}


@pytest.fixture(scope="module")
def submitted(bucket: Bucket, photographs: str, dataflow: Dataflow) -> tuple[dict[str, Any], str]:
    """The job that the submit script submits for a GPU, and the output of the script."""
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
        "PROJECT": "test-project",
        "REGION": "europe-west1",
        "BUCKET": bucket.name,
        "IMAGE": "europe-docker.example/beam_job:1",
        "GPU": "nvidia-tesla-t4",
        "SERVICE_ACCOUNT": "worker@test-project.example",
        "SUBNETWORK": "regions/europe-west1/subnetworks/private",
    }
    dataflow.error = WORKER_ERROR
    command = [LAUNCH / "submit.sh", photographs, bucket.url("out-gpu"), f"--dataflow_endpoint={dataflow.endpoint}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return dataflow.jobs[-1], done.stderr


def test_the_job_that_the_script_submits(submitted: tuple[dict[str, Any], str]) -> None:
    environment = submitted[0]["environment"]
    (pool,) = environment["workerPools"]
    assert pool["workerHarnessContainerImage"] == "europe-docker.example/beam_job:1"
    assert (pool["machineType"], pool["diskSizeGb"]) == ("n1-standard-8", 100)
    assert pool["subnetwork"] == "regions/europe-west1/subnetworks/private"
    assert pool["ipConfiguration"] in ("WORKER_IP_PRIVATE", 2)
    assert pool["numThreadsPerWorker"] == 4
    assert environment["serviceAccountEmail"] == "worker@test-project.example"
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert environment["serviceOptions"] == ["worker_accelerator=type:nvidia-tesla-t4;count:1;install-nvidia-driver"]
    options = environment["sdkPipelineOptions"]["options"]
    assert options["save_main_session"] is False


def test_the_pipeline_that_is_staged(bucket: Bucket, submitted: tuple[dict[str, Any], str]) -> None:
    found = steps(bucket, submitted[0]["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"])
    assert {name for name in found if name in STEPS} == set(STEPS)
    # The only grouping, which is of refs.
    assert "Extract shards/Gather shards" in found


def test_an_error_in_a_worker_is_reported_in_one_sentence(submitted: tuple[dict[str, Any], str]) -> None:
    last = submitted[1].strip().splitlines()[-1]
    assert last == "beam-job: Expected a label in every row."
    assert "Traceback" not in submitted[1]


def test_a_template_is_written_to_the_bucket(
    bucket: Bucket, photographs: str, dataflow: Dataflow, capsys: pytest.CaptureFixture[str]
) -> None:
    template_url = bucket.url("templates/job.json")
    jobs = len(dataflow.jobs)
    # The call that Dataflow's launcher makes, with the template's parameters and the service's options.
    arguments = ["extract", "--on=dataflow", f"--input={photographs}", f"--output={bucket.url('out-template')}"]
    arguments += [
        "--overwrite=true",
        "--json",
        f"--template_location={template_url}",
        *dataflow.beam_options(bucket.name),
    ]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"template": template_url}
    assert len(dataflow.jobs) == jobs
    template = json.loads(bucket.read("templates/job.json"))
    assert set(STEPS) <= set(steps(bucket, template["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]))


def test_the_template_parameters_match_the_options() -> None:
    written = json.loads((LAUNCH / "metadata.json").read_text())
    assert written == metadata(), "run make docs"
    names = [parameter["name"] for parameter in written["parameters"]]
    assert names == [field.name for _, field in extract_fields() if field.name not in LEFT_OUT]
    assert [parameter["name"] for parameter in written["parameters"] if not parameter["isOptional"]] == [
        "input",
        "output",
    ]


def test_the_files_that_the_dockerfile_copies_exist() -> None:
    root = LAUNCH.parent.parent
    for line in (LAUNCH.parent / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--"):
            assert all((root / word).exists() for word in words[1:-1]), line


@pytest.mark.parametrize("script", ["build.sh", "submit.sh"])
def test_the_scripts_report_missing_variables(script: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run([LAUNCH / script, "a", "b"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "set PROJECT to the Google Cloud project" in done.stderr
