"""The rules of the house, read from the imports: floors, and who may know Beam and TensorFlow."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import beam_job

PACKAGE = Path(beam_job.__file__).parent

# Lowest first; ARCHITECTURE.md draws the same.
FLOORS = (
    {"errors", "records"},
    {
        "allocation",
        "blocks",
        "downloads",
        "faults",
        "isolation",
        "metrics",
        "naming",
        "options",
        "registry",
        "sharding",
        "tensorflow_runtime",
        "threadmap",
        "wheels",
    },
    {"storage", "cache"},
    {"sources", "labels", "decoding", "resizing", "models", "writers", "commit", "dead_letters", "metadata", "target"},
    {"engines"},
    {
        "planning",
        "extraction",
        "resumption",
        "finalisation",
        "forecast",
        "feature_health",
        "neighbours",
        "reporting",
        "head_training",
        "head_evaluation",
        "head_plots",
        "head_serving",
        "verification",
        "inspection",
        "progress",
        "reading",
        "samples",
        "summary",
    },
    {"transforms", "runners", "worker_boot"},
    {"pipeline"},
    {"api"},
    {"cli", "__main__", "__init__"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
BEAM = {"storage", "transforms", "pipeline", "runners", "worker_boot"}
TENSORFLOW = {"models", "engines", "sources", "reading", "tensorflow_runtime"}


def modules() -> Iterator[tuple[str, Path]]:
    """Top-level name within the package, and file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Absolute name of everything a file imports, and whether it is for type checking only."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in typing_only


@pytest.mark.parametrize("place", modules(), ids=lambda place: str(place[1].relative_to(PACKAGE)))
def test_imports_go_down_floors_only(place: tuple[str, Path]) -> None:
    name, path = place
    for imported, typing_only in imports(path):
        parts = imported.split(".")
        if parts[0] != "beam_job" or typing_only:
            continue
        below = parts[1] if parts[1] in FLOOR else "__init__"
        allowed = FLOOR[name] if name != "cli" or below != "__init__" else len(FLOORS)
        assert FLOOR[below] <= allowed, f"{path.name} may not import {imported}"


@pytest.mark.parametrize(
    ("library", "allowed"), [("apache_beam", BEAM), ("tensorflow", TENSORFLOW), ("keras", {"models"})]
)
def test_who_may_know_a_library(library: str, allowed: set[str]) -> None:
    knows = {
        name
        for name, path in modules()
        for imported, typing_only in imports(path)
        if not typing_only and imported.split(".")[0].removesuffix("_hub") == library
    }
    assert knows <= allowed


def test_every_module_has_a_floor() -> None:
    assert {name for name, _ in modules()} == set(FLOOR)


def test_no_module_runs_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for name, path in modules():
        found = {
            imported.split(".")[1]
            for imported, typing in imports(path)
            if imported.startswith("beam_job.") and not typing
        }
        graph.setdefault(name, set()).update(part for part in found if part in FLOOR and part != name)
    done: set[str] = set()
    while ready := {name for name, below in graph.items() if name not in done and below <= done | {"__init__"}}:
        done |= ready
    assert done == set(graph), f"in a circle: {set(graph) - done}"


def test_every_module_says_what_it_is_for() -> None:
    for _, path in modules():
        assert ast.get_docstring(ast.parse(path.read_text())) or path.name == "py.typed", path


def test_the_public_names_are_these() -> None:
    assert sorted(beam_job.__all__) == [
        "BeamJobError",
        "ExtractFeatures",
        "Failure",
        "FeatureRecord",
        "Forecast",
        "HeadResult",
        "ImageRef",
        "ModelReport",
        "ReportResult",
        "RunResult",
        "Verification",
        "__version__",
        "extract",
        "inspect_model",
        "load_features",
        "plan",
        "report",
        "train_head",
        "verify",
    ]
    for name in beam_job.__all__:
        assert getattr(beam_job, name) is not None
    with pytest.raises(AttributeError):
        beam_job.nothing  # noqa: B018


def test_the_tests_mirror_the_package() -> None:
    here = Path(__file__).parent
    for folder in ("cli", "engines", "models", "sources", "writers"):
        assert list((here / folder).glob("test_*.py")), folder
        importlib.import_module(f"beam_job.{folder}")
