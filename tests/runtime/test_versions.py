"""Versions of libraries, whichever distribution they come from."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import beam_job
from beam_job.runtime.versions import NOT_INSTALLED, library_version, library_versions


def test_versions_are_those_of_the_installed_packages() -> None:
    found = library_versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["tensorflow"].startswith("2.")
    assert library_version("no-such-library") == NOT_INSTALLED


@pytest.mark.parametrize("distribution", ["tensorflow_cpu", "tf_nightly"])
def test_tensorflow_under_another_name(distribution: str, tmp_path: Path) -> None:
    """In an environment that has nothing but this distribution of TensorFlow."""
    metadata = tmp_path / f"{distribution}-2.99.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.99\n")
    code = (
        f"import sys; sys.path += [{str(tmp_path)!r}, {str(Path(beam_job.__file__).parent.parent)!r}]\n"
        "from beam_job.runtime.versions import library_version\n"
        "print(library_version('tensorflow'))"
    )
    # -S leaves out this environment's packages, and -I everything that PYTHONPATH adds.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2.99\n"
