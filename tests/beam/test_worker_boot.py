"""The worker that a runner starts as a process. tests/launch/test_flink.py starts it on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from google.protobuf import text_format

from beam_job.beam.worker_boot import provision, worker_environment


class _Provision(beam_provision_api_pb2_grpc.ProvisionServiceServicer):  # type: ignore[misc]
    """Serves options and endpoints, and records the id of the worker."""

    worker_id: str | None = None

    def GetProvisionInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 the service defines the name
        self.worker_id = dict(context.invocation_metadata()).get("worker_id")
        info = beam_provision_api_pb2.ProvisionInfo()
        info.pipeline_options.update({"beam:option:experiments:v1": ["x"]})
        info.control_endpoint.url, info.logging_endpoint.url = "localhost:1", "localhost:2"
        info.runner_capabilities.append("beam:protocol:control_response_elements_embedding:v1")
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=info)


@pytest.fixture
def service() -> Iterator[tuple[_Provision, str]]:
    servicer = _Provision()
    server = grpc.server(ThreadPoolExecutor(1))
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None)


def test_the_environment_of_beams_worker_comes_from_the_runner(service: tuple[_Provision, str]) -> None:
    servicer, address = service
    variables = worker_environment("7", provision("7", address))
    assert servicer.worker_id == "7"
    assert json.loads(variables["PIPELINE_OPTIONS"]) == {"beam:option:experiments:v1": ["x"]}
    assert variables["WORKER_ID"] == "7"
    assert "STATUS_API_SERVICE_DESCRIPTOR" not in variables
    control = endpoints_pb2.ApiServiceDescriptor()
    text_format.Merge(variables["CONTROL_API_SERVICE_DESCRIPTOR"], control)
    assert control.url == "localhost:1"
