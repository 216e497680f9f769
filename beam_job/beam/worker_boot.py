"""``beam-job-worker``: what a runner starts as a PROCESS environment; it becomes a Python worker of Beam.

A runner passes two arguments to the worker process, ``--id`` and ``--provision_endpoint``. The rest comes from that
endpoint (ProvisionService of beam_provision_api.proto) and is passed to Beam's own worker in environment variables, as
the boot program of Beam's containers does (sdks/python/container/boot.go).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

_TIMEOUT_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a worker until the runner ends it."""
    parser = argparse.ArgumentParser(prog="beam-job-worker", description="A worker that runners start.")
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    # Runners may add endpoints that the provision service gives as well.
    given, _ = parser.parse_known_args(arguments)
    os.environ.update(worker_environment(given.id, provision(given.id, given.provision_endpoint)))
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def provision(worker_id: str, endpoint: str) -> Any:
    """What the runner provides for the worker: a ``ProvisionInfo``."""
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        response = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=[("worker_id", worker_id)],
            timeout=_TIMEOUT_SECONDS,
            wait_for_ready=True,
        )
    return response.info


def worker_environment(worker_id: str, info: Any) -> Mapping[str, str]:
    """The variables that Beam's worker reads (apache_beam/runners/worker/sdk_worker_main.py)."""
    from google.protobuf import json_format, text_format

    variables = {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "SEMI_PERSISTENT_DIRECTORY": tempfile.gettempdir(),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.control_endpoint),
    }
    if info.status_endpoint.url:
        variables["STATUS_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(info.status_endpoint)
    return variables
