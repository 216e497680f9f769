"""Presets of Beam options: what ``--on`` stands for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

LOCAL_RUNNER = "FnApiRunner"
FLINK_RUNNER, SPARK_RUNNER, DATAFLOW_RUNNER = "FlinkRunner", "SparkRunner", "DataflowRunner"
PORTABLE_RUNNER = "PortableRunner"

# The package is installed where the workers are, so the launcher's own state is not sent to them.
_REMOTE = ("--no_save_main_session",)
_WORKER = os.path.join(os.path.dirname(sys.executable), "beam-job-worker")
# One Python process per task manager or executor, which holds the model once for all of its threads.
_PROCESS = (
    "--environment_type=PROCESS",
    f"--environment_config={json.dumps({'command': _WORKER})}",
    "--sdk_worker_parallelism=1",
)

PRESETS: Mapping[str, Sequence[str]] = {
    "local": (f"--runner={LOCAL_RUNNER}", "--direct_running_mode=in_memory", "--direct_num_workers=1"),
    "flink": (f"--runner={FLINK_RUNNER}", *_PROCESS, *_REMOTE),
    "spark": (f"--runner={SPARK_RUNNER}", *_PROCESS, *_REMOTE),
    "dataflow": (
        f"--runner={DATAFLOW_RUNNER}",
        # One process per machine, with a thread per core, rather than a model per core.
        "--experiments=no_use_multiple_sdk_containers",
        # Concurrent bundles in that process; two shards are enough to keep the cores busy.
        "--number_of_worker_harness_threads=4",
        "--machine_type=n2-standard-8",
        "--disk_size_gb=50",
        "--sdk_location=container",
        *_REMOTE,
    ),
}
