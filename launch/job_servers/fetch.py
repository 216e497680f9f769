"""Finds Beam's job servers, the Java programs that submit a Python pipeline to Flink or Spark.

    python launch/job_servers/fetch.py spark-3

prints the path of the job server for Spark 3, and downloads it first if necessary. Downloads are kept in
build/job-servers.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parent.parent / "build" / "job-servers"
# Maven projects that assemble a job server from its parts where the released jar is not available.
_PROJECTS = {"flink-1.19": "flink.xml", "spark-3": "spark.xml"}


class CannotLaunchError(Exception):
    """A launcher lacks something that it needs; the message says what to do."""


def job_server_jar(kind: str, home: Path = HOME) -> Path:
    """The job server for a version of Flink or Spark: the jar in the environment, in a cache, or from Maven.

    Args:
      kind: Beam's name for it, such as ``flink-2.2`` or ``spark-3``.
      home: Directory for downloads.

    Raises:
      CannotLaunchError: the job server is not available; the message says what to do.
    """
    variable = f"{kind.partition('-')[0].upper()}_JOB_SERVER_JAR"
    if given := os.environ.get(variable):
        if not Path(given).exists():
            raise CannotLaunchError(f"There is no file at {variable}={given}.")
        return Path(given)
    artifact, version = f"beam-runners-{kind}-job-server", importlib.metadata.version("apache-beam")
    name, assembled = f"{artifact}-{version}.jar", home / f"{kind}-job-server-assembled.jar"
    for place in (Path.home() / ".apache_beam" / "cache" / "jars" / name, home / name, assembled):
        if place.exists():
            return place
    if not shutil.which("mvn"):
        raise CannotLaunchError(f"Expected {name}: install Maven, or set {variable} to the file.")
    coordinates = [f"-Dartifact=org.apache.beam:{artifact}:{version}", f"-DoutputDirectory={home}"]
    if _maven("dependency:copy", *coordinates):
        return home / name
    if kind not in _PROJECTS:
        raise CannotLaunchError(f"Maven does not have {name}; set {variable} to the file.")
    package = ("-f", str(HERE / _PROJECTS[kind]), "package", f"-Dhome={home}")
    # The download of one of the 160 parts may fail. Maven keeps the others, so a second attempt is short.
    if not (_maven(*package) or _maven(*package)):
        raise CannotLaunchError(f"Maven has neither {name} nor its parts; set {variable} to the file.")
    return assembled


def _maven(*arguments: str) -> bool:
    return subprocess.run(["mvn", "-q", "-B", *arguments], capture_output=True, check=False).returncode == 0


def main(arguments: list[str]) -> int:
    """Prints the path of a job server, and returns the exit code."""
    if len(arguments) != 1:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        print(job_server_jar(arguments[0]))
    except CannotLaunchError as error:
        print(f"fetch.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
