"""The manifests match the schemas of Kubernetes and the Flink operator, and their commands match our options."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from beam_job.beam.presets import PRESETS
from beam_job.beam.runners import beam_options
from beam_job.cli.arguments import read_extract_options
from beam_job.cli.main import build_parser
from beam_job.core.options import ExtractOptions
from tests.support.required import skip_or_fail

MANIFESTS = Path(__file__).parent.parent.parent / "launch" / "kubernetes"
OPERATOR = "org.apache.flink:flink-kubernetes-operator-api:1.10.0"
KUBERNETES = "1.31"


def manifest(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((MANIFESTS / name).read_text())
    return content


def strict(schema: Any) -> Any:
    """The schema with unknown fields as errors, as in kubectl."""
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items() if name != "properties"}
    if "properties" in schema:
        closed["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="module")
def flink_deployment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The schema of a FlinkDeployment, from the artifact of the operator."""
    folder = tmp_path_factory.mktemp("operator")
    if not shutil.which("mvn"):
        skip_or_fail("Maven is not installed")
    copy = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={OPERATOR}", f"-DoutputDirectory={folder}"]
    if subprocess.run(copy, capture_output=True, check=False).returncode:
        skip_or_fail(f"Maven does not have {OPERATOR}")
    (jar,) = folder.glob("*.jar")
    with zipfile.ZipFile(jar) as archive:
        crd = yaml.safe_load(archive.read("META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"))
    (version,) = crd["spec"]["versions"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"const": "flink.apache.org/v1beta1"}, "kind": {"const": "FlinkDeployment"}}
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def test_the_cluster_matches_the_schema_of_the_operator(flink_deployment: Any) -> None:
    jsonschema.validate(manifest("cluster.yaml"), flink_deployment)


@pytest.mark.parametrize("path", [("taskManager", "replica"), ("flinkConfig",), ("taskManager", "podTemplate", "sepc")])
def test_the_schema_refuses_a_misspelt_field(flink_deployment: Any, path: tuple[str, ...]) -> None:
    content = manifest("cluster.yaml")
    section = content["spec"]
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, flink_deployment)


def test_the_submitting_job_matches_the_schema_of_kubernetes() -> None:
    kubernetes_validate.validate(manifest("submit.yaml"), KUBERNETES, strict=True)


def test_the_pod_of_a_task_manager_matches_the_schema_of_kubernetes() -> None:
    spec = manifest("cluster.yaml")["spec"]["taskManager"]["podTemplate"]["spec"]
    spec["containers"][0]["image"] = "set by the operator"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "task-manager"}, "spec": spec}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_submitting_job_uses_valid_options() -> None:
    (container,) = manifest("submit.yaml")["spec"]["template"]["spec"]["containers"]
    assert container["command"][0] == "beam-job"
    known, rest = build_parser().parse_known_args([*container["command"][1:], *container["args"]])
    options = ExtractOptions.of(**read_extract_options(known))
    assert options.output.resume
    found = beam_options([*PRESETS[options.work.on or ""], *rest], options.flat()).get_all_options()
    (pool,) = (c for c in _task_manager_containers() if c["name"] == "worker-pool")
    (port,) = pool["ports"]
    assert found["environment_type"] == "EXTERNAL"
    assert found["environment_config"] == f"localhost:{port['containerPort']}"
    assert found["parallelism"] == manifest("cluster.yaml")["spec"]["taskManager"]["replicas"]
    assert found["flink_master"].startswith(f"{manifest('cluster.yaml')['metadata']['name']}-rest:")


def test_the_workers_have_their_own_memory_limits() -> None:
    for container in _task_manager_containers():
        assert container["name"] == "flink-main-container" or "memory" in container["resources"]["limits"]


def _task_manager_containers() -> list[dict[str, Any]]:
    containers: list[dict[str, Any]] = manifest("cluster.yaml")["spec"]["taskManager"]["podTemplate"]["spec"][
        "containers"
    ]
    return containers
