"""The documentation is true: its reference is that of the code, and its commands run."""

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
from beam_job.core.errors import ExampleError
from beam_job.core.options import extract_fields

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("launch/**/*.md")])


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_reference_of_options_is_that_of_the_code() -> None:
    for name in ("options", "formats"):
        command = [sys.executable, ROOT / f"docs/make_{name}.py"]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        assert made.stdout == (ROOT / f"docs/{name}.md").read_text(), "run make docs"


def test_the_types_of_the_api_are_those_of_the_code() -> None:
    command = [sys.executable, ROOT / "docs/make_option_types.py"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "beam_job/option_types.py").read_text(), "run make docs"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    assert f"beam-job {command}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("option", [field.name for _, field in extract_fields()])
def test_the_pages_explain_every_option(option: str) -> None:
    """In a sentence that somebody wrote, beside the reference that is made from the code."""
    written = [page for page in PAGES if page.name not in ("options.md", "CHANGELOG.md")]
    assert any(f"--{option}" in page.read_text() for page in written), option


def test_the_readme_names_both_test_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make test " in text
    assert "make test-all" in text


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

    def leaves(error: type[ExampleError]) -> list[type[ExampleError]]:
        return [leaf for child in error.__subclasses__() for leaf in (leaves(child) or [child])]

    for error in leaves(ExampleError):
        assert f"`{error.__name__}`" in text


def test_the_architecture_names_every_folder_and_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in (ROOT / "beam_job").rglob("*.py"):
        name = path.parent.name if path.name == "__init__.py" else path.stem
        assert re.search(rf"(?<![a-z]){name}(?![a-z])", text), path


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
