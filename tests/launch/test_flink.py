"""Runs on a real Flink cluster: a job manager, two task managers and PROCESS workers."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import beam_job
from beam_job.beam.presets import PRESETS
from beam_job.core import naming
from beam_job.core.errors import InputError
from launch.flink.cluster import Cluster, running_cluster
from launch.job_servers.fetch import CannotLaunchError
from tests.support.datasets import SPLITS, comparable_files
from tests.support.portable import worker_pool
from tests.support.required import skip_or_fail
from tests.support.runs import metrics_of_a_run

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@contextlib.contextmanager
def cluster_of(size: int, folder: Path) -> Iterator[Cluster]:
    try:
        with running_cluster(folder, size) as running:
            yield running
    except CannotLaunchError as error:
        skip_or_fail(str(error))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(2, tmp_path_factory.mktemp("flink") / "cluster") as running:
        yield running


@pytest.fixture
def options(cluster: Cluster) -> list[str]:
    """Beam's options for the cluster, without our --on."""
    return [option for option in cluster.beam_options() if option != "--on=flink"]


def test_each_worker_loads_the_model_once(few: Path, tmp_path: Path, options: list[str]) -> None:
    metrics = metrics_of_a_run(few, tmp_path / "out", [*PRESETS["flink"], *options])
    # Two task managers, each with one worker process, and eight shards.
    assert 1 <= metrics["model_loads"] <= 2
    assert (metrics["examples"], metrics["records"], metrics["shards"]) == (40, 40, 8)


def test_an_error_in_a_worker_is_reported_in_one_sentence(few: Path, tmp_path: Path, options: list[str]) -> None:
    manifest = tmp_path / "images.csv"
    manifest.write_text(f"uri,id\n{few}/cat/cat-0000.jpg,a\n{few}/cat/cat-0001.jpg,a\n")
    with pytest.raises(InputError, match="found repeated: 'a'"):
        beam_job.extract(str(manifest), str(tmp_path / "out"), on="flink", beam_options=options)


def test_nothing_is_lost_with_a_task_manager(
    samples: Path, dataset: Path, tmp_path: Path, cluster: Cluster, options: list[str]
) -> None:
    output, killed = tmp_path / "out", threading.Event()

    def kill_one() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if list(output.glob(f"{naming.RECEIPTS}/*.json")):
                os.kill(cluster.task_managers[0].pid, signal.SIGKILL)
                cluster.task_managers[0].wait()
                if not (output / naming.SUCCESS).exists():
                    killed.set()
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one)
    killer.start()
    beam_job.extract(str(samples), str(output), splits=SPLITS, on="flink", worker_threads=1, beam_options=options)
    killer.join()
    assert killed.is_set(), "the run was over before the task manager was killed"
    assert comparable_files(output) == comparable_files(dataset)


def test_the_uber_jar_with_a_worker_pool(few: Path, tmp_path: Path) -> None:
    """As on Kubernetes, the pipeline is submitted in the job server's jar, and the workers run in a pool.

    As in a pod, each task manager has its own pool. Two task managers would give their workers the same names.
    """
    beam_job.extract(str(few), str(tmp_path / "local"), num_shards=4)
    with cluster_of(1, tmp_path / "cluster") as cluster, worker_pool(tmp_path) as pool:
        options = [f"--flink_master={cluster.address}", f"--flink_job_server_jar={cluster.job_server}"]
        options += ["--flink_submit_uber_jar", "--parallelism=1", *pool]
        beam_job.extract(str(few), str(tmp_path / "out"), num_shards=4, on="flink", beam_options=options)
    assert comparable_files(tmp_path / "out") == comparable_files(tmp_path / "local")
