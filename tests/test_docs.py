"""The documentation is true: the reference is that of the code, and what it shows can be run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beam_job.cli.main import COMMANDS
from beam_job.core import naming
from beam_job.core.errors import ImageError
from tests.test_house import FLOORS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("launch/**/*.md")])


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_reference_of_options_is_that_of_the_code() -> None:
    made = subprocess.run([sys.executable, ROOT / "docs/make_options.py"], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs/options.md").read_text(), "run make docs"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"beam-job {command}" in "".join(page.read_text() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_file_of_a_dataset_and_every_class_of_error_is_documented() -> None:
    text = (ROOT / "docs/output.md").read_text()
    for name in (
        naming.SUCCESS,
        naming.RUN,
        naming.ERRORS,
        naming.DATASET_INFO,
        naming.FEATURES,
        naming.LABELS,
        naming.SCHEMA,
    ):
        assert name in text

    def leaves(error: type[ImageError]) -> list[type[ImageError]]:
        return [leaf for child in error.__subclasses__() for leaf in (leaves(child) or [child])]

    for error in leaves(ImageError):
        assert f"`{error.__name__}`" in text


def test_every_module_stands_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for names in FLOORS:
        for name in names:
            assert re.search(rf"\b{name}\b", text), name


@pytest.fixture
def desk(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with ``photos`` in it, as the documentation has it."""
    shutil.copytree(few, tmp_path / "photos")
    shutil.copy(next(few.glob("cat/*.jpg")), tmp_path / "photos/cat.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_the_commands_of_the_readme_and_what_python_does_with_their_result(desk: Path) -> None:
    (command,) = [
        line for block in blocks("README.md", "sh") for line in block.splitlines() if "extract --input photos/" in line
    ]
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=120)
    (code,) = blocks("README.md", "python")
    names: dict[str, object] = {}
    exec(code, names)
    features, labels = next(iter(names["train"]))  # type: ignore[call-overload]
    assert features.shape[1:] == (1280,)
    assert labels.dtype == "int64"


def test_the_code_of_the_python_page_runs(desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in blocks("docs/python.md", "python"):
        exec(code, names)
    assert "('cat', 0, (1280,))" in capfd.readouterr().out


def test_the_launcher_of_this_machine(desk: Path) -> None:
    command = [ROOT / "launch/local.sh", "photos", "out", "--num_shards=2"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (desk / "out" / naming.SUCCESS).exists()
    usage = subprocess.run([ROOT / "launch/local.sh"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    assert usage.stderr.startswith("usage: launch/local.sh IN OUT")
