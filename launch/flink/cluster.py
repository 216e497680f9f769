"""Runs a command with a Flink cluster on this machine.

    python launch/flink/cluster.py beam-job extract --input IN --output OUT

starts a job manager and two task managers from Flink's wheels, runs the command with the options for this cluster
appended, and stops the cluster. FLINK=2.2, 1.20 or 1.19 selects the version of Flink, and FLINK_JOB_SERVER_JAR=FILE
the job server of Beam. The default is the newest Flink for which Beam's cache or Maven has a job server. The
installation is kept in build/flink.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from launch.job_servers.fetch import CannotLaunchError, job_server_jar  # noqa: E402

HOME = ROOT / "build" / "flink"
# Flink versions for which Beam has a job server, each with its newest release, which is the wheel to install.
WHEELS = {"2.2": "2.2.1", "1.20": "1.20.3", "1.19": "1.19.3"}
TASK_MANAGERS = 2
# One spare slot in each, so that a task manager can take over the work of one that dies.
SLOTS = 2
_PATIENCE_SECONDS = 120
_LOCALHOST = "127.0.0.1"


def install_flink(flink: str, home: Path = HOME) -> Path:
    """Installs Flink from its wheels, in a separate virtual environment, and returns the distribution's directory."""
    version = WHEELS[flink]
    place = home / f"flink-{version}"
    marker = place / "installed"
    if not marker.exists():
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        # The wheels contain all jars and scripts. Their dependencies are only needed for PyFlink programs.
        wheels = [f"apache-flink=={version}", f"apache-flink-libraries=={version}"]
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--no-deps", *wheels], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotLaunchError(f"Flink {version} could not be installed: {done.stderr.strip()[-300:]}")
        marker.touch()
    return next(place.glob("lib/python*/site-packages/pyflink"))


def available_flink() -> tuple[str, Path]:
    """The Flink version to run and its job server: the version in FLINK, or the newest that has a job server.

    Raises:
      CannotLaunchError: FLINK is not a known version, or no job server is available.
    """
    if flink := os.environ.get("FLINK"):
        if flink not in WHEELS:
            raise CannotLaunchError(f"Expected FLINK to be one of {', '.join(WHEELS)}, found {flink}.")
        return flink, job_server_jar(f"flink-{flink}")
    problems = []
    for flink in WHEELS:
        try:
            return flink, job_server_jar(f"flink-{flink}")
        except CannotLaunchError as error:
            problems.append(str(error))
    raise CannotLaunchError(" ".join(problems))


@dataclasses.dataclass
class Cluster:
    """A job manager and its task managers, as child processes.

    Attributes:
      pyflink: The Flink distribution.
      job_server: Beam's job server for this Flink.
      place: Directory of the cluster's configuration, logs and temporary files.
      port: Port of the job manager's REST API and web page.
      size: Number of task managers.
      job_manager: Its process, once started.
      task_managers: Their processes, once started.
    """

    pyflink: Path
    job_server: Path
    place: Path
    port: int
    size: int = TASK_MANAGERS
    job_manager: subprocess.Popen[bytes] | None = None
    task_managers: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)

    @property
    def address(self) -> str:
        """Address of the job manager."""
        return f"http://{_LOCALHOST}:{self.port}"

    def beam_options(self) -> list[str]:
        """The options that run a job on this cluster."""
        return [
            "--on=flink",
            f"--flink_master={self.address}",
            f"--flink_job_server_jar={self.job_server}",
            f"--parallelism={self.size}",
            f"--artifacts_dir={self.place / 'artifacts'}",
        ]

    def start(self) -> None:
        """Starts the cluster, and returns when all task managers have registered.

        Raises:
          CannotLaunchError: a process ended, or the task managers did not register in time.
        """
        for name in ("conf", "logs", "tmp", "artifacts"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        self._configure()
        self.job_manager = self._launch("jobmanager")
        self.task_managers = [self._launch("taskmanager") for _ in range(self.size)]
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._reported() < self.size:
            if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes()):
                raise CannotLaunchError(f"The Flink cluster did not start; its logs are in {self.place / 'logs'}.")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stops the cluster."""
        for process in self.processes():
            process.terminate()
        for process in self.processes():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The processes of the cluster."""
        return [*self.task_managers, *([self.job_manager] if self.job_manager else [])]

    def ask(self, path: str) -> Any:
        """The response of the job manager's REST API to a GET request."""
        with urllib.request.urlopen(f"{self.address}/{path}", timeout=5) as answer:
            return json.load(answer)

    def _reported(self) -> int:
        try:
            return len(self.ask("taskmanagers")["taskmanagers"])
        except OSError:
            return 0

    def _configure(self) -> None:
        for path in (self.pyflink / "conf").iterdir():
            shutil.copy(path, self.place / "conf")
        shipped = yaml.safe_load((self.pyflink / "conf" / "config.yaml").read_text())
        settings = {
            # The options that Java 17 needs, from Flink's default configuration.
            "env.java.opts.all": shipped["env"]["java"]["opts"]["all"],
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": _free_port(),
            "jobmanager.bind-host": "localhost",
            "jobmanager.memory.process.size": "1024m",
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "localhost",
            "taskmanager.memory.process.size": "1536m",
            # Enough for both subtasks of every step, in case one task manager takes over the work of the other.
            "taskmanager.memory.network.min": "256m",
            "taskmanager.memory.network.max": "256m",
            "taskmanager.numberOfTaskSlots": SLOTS,
            # One subtask per task manager, rather than both in the first.
            "taskmanager.load-balance.mode": "SLOTS",
            "rest.address": "localhost",
            "rest.bind-address": "localhost",
            "rest.port": self.port,
            "io.tmp.dirs": str(self.place / "tmp"),
            "restart-strategy.type": "fixed-delay",
            # Enough attempts to last until Flink notices that a task manager is lost, and no more, since a permanent
            # failure is retried as often.
            "restart-strategy.fixed-delay.attempts": 4,
            "restart-strategy.fixed-delay.delay": "3 s",
            # Milliseconds.
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 5000,
        }
        (self.place / "conf" / "config.yaml").write_text(yaml.safe_dump(settings, width=10_000))

    def _launch(self, role: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "FLINK_HOME": str(self.pyflink),
            "FLINK_CONF_DIR": str(self.place / "conf"),
            "FLINK_LOG_DIR": str(self.place / "logs"),
        }
        number = len(list((self.place / "logs").glob(f"{role}-*.out")))
        with (self.place / "logs" / f"{role}-{number}.out").open("wb") as log:
            script = ["bash", str(self.pyflink / "bin" / f"{role}.sh"), "start-foreground"]
            return subprocess.Popen(script, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_cluster(place: Path, size: int = TASK_MANAGERS, home: Path = HOME) -> Iterator[Cluster]:
    """Runs a cluster of ``size`` task managers for the duration of the block.

    Raises:
      CannotLaunchError: the cluster cannot run here; the message says what to do.
    """
    if not shutil.which("java"):
        raise CannotLaunchError("Flink needs Java 17: install it, and put `java` on the PATH.")
    flink, jar = available_flink()
    cluster = Cluster(install_flink(flink, home), jar, place, _free_port(), size)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def main(command: Sequence[str]) -> int:
    """Runs a command with a cluster, and returns the exit code of the command."""
    if not command:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    place = HOME / "cluster"
    shutil.rmtree(place, ignore_errors=True)
    try:
        print("starting Flink; the first start downloads it, which takes a minute", file=sys.stderr, flush=True)
        with running_cluster(place) as cluster:
            version = cluster.pyflink.parents[3].name
            print(f"{version}, {cluster.size} task managers: {cluster.address}", file=sys.stderr, flush=True)
            return subprocess.run([*command, *cluster.beam_options()], check=False).returncode
    except CannotLaunchError as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
