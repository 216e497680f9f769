"""The rules of the house, read from its folders and imports: floors, no cycles, and who may know a library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import beam_job

PACKAGE = Path(beam_job.__file__).parent
TESTS = Path(__file__).parent

# A room is a folder, or a module at the top. It imports from itself and from the floors below, never from a neighbour.
FLOORS = (
    {"core"},
    {"runtime"},
    {"inputs", "modalities", "outputs"},
    {"dataset", "models"},
    {"engines"},
    {"extraction", "heads"},
    {"beam", "reporting", "option_types"},
    {"api"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Who may import a library, by the start of the path within the package.
KNOWS = {
    "apache_beam": ("beam/", "runtime/storage/"),
    "tensorflow": ("runtime/tensorflow", "modalities/", "outputs/", "models/", "engines/", "heads/", "dataset/reading"),
    "keras": ("runtime/tensorflow",),
    "tf_keras": ("models/loaders/",),
    "openvino": ("engines/",),
    "PIL": ("modalities/image/",),
    "simplejpeg": ("modalities/image/",),
    "sklearn": ("reporting/",),
    "soundfile": ("runtime/sound",),
    "soxr": ("runtime/sound",),
}
# Words that only some rooms may say, likewise; besides the public names and their types.
SAYS = {
    "ImageSize": ("modalities/image/", "models/", "core/values", "core/options"),
    "tfrecord": ("outputs/", "inputs/"),
}


def modules() -> Iterator[str]:
    """The path of every module within the package, without its suffix."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).with_suffix("").as_posix()


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text())


def imports(module: str, typing_only: bool = True) -> Iterator[str]:
    """Absolute names that a module imports, anywhere in it, including those for type checking only unless excluded."""
    content = tree(module)
    branches = [
        node for node in ast.walk(content) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    excluded = set() if typing_only else {id(node) for branch in branches for node in ast.walk(branch)}
    for node in ast.walk(content):
        if id(node) in excluded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_tensorflow":
            yield "tensorflow"


def own_imports(module: str, typing_only: bool = True) -> Iterator[str]:
    """The modules of the package that a module imports, as paths; its root, which imports nothing, is none."""
    known = set(modules())
    for name in imports(module, typing_only):
        parts = name.split(".")
        if parts[0] != "beam_job":
            continue
        path = "/".join(parts[1:])
        for found in (path, f"{path}/__init__", path.rpartition("/")[0], f"{path.rpartition('/')[0]}/__init__"):
            if found in known and found != "__init__":
                yield found
                break
        else:
            assert path in ("__version__", ""), f"{module} imports {name}, which does not exist"


def room(module: str) -> str:
    return module.partition("/")[0]


@pytest.mark.parametrize("module", [module for module in modules() if module != "__init__"])
def test_imports_go_down(module: str) -> None:
    for found in own_imports(module):
        own_room = room(found) == room(module)
        assert own_room or FLOOR[room(found)] < FLOOR[room(module)], f"{module} must not import {found}"


def test_no_imports_in_a_circle() -> None:
    graph = {module: set(own_imports(module)) - {module} for module in modules()}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in modules()} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("library", KNOWS)
def test_who_may_know_a_library(library: str) -> None:
    knows = {
        module for module in modules() for name in imports(module) if name.split(".")[0].removesuffix("_hub") == library
    }
    assert knows, "a rule about nothing"
    assert {module for module in knows if not module.startswith(KNOWS[library])} == set()


@pytest.mark.parametrize("word", SAYS)
def test_who_may_say_a_word(word: str) -> None:
    says = {module for module in modules() if re.search(rf"\b{word}", (PACKAGE / f"{module}.py").read_text())}
    assert says, "a rule about nothing"
    allowed = (*SAYS[word], "__init__", "option_types")
    assert {module for module in says if not module.startswith(allowed)} == set()


def test_the_command_line_calls_the_api_and_nothing_beside_it() -> None:
    called = {room(found) for module in modules() if room(module) == "cli" for found in own_imports(module, False)}
    assert called == {"cli", "api", "core", "runtime"}


def test_every_module_says_what_it_is_for() -> None:
    for module in modules():
        assert ast.get_docstring(tree(module)), module


def test_a_folder_holds_nothing_in_its_init() -> None:
    """Or else an import of a light module of the folder would load the heavy ones."""
    for module in modules():
        if module.endswith("/__init__") and module != "runtime/storage/__init__":
            assert len(tree(module).body) == 1, module


def test_the_public_names_exist() -> None:
    assert sorted(beam_job.__all__) == sorted([*beam_job._PUBLIC, "__version__"])
    for name in beam_job.__all__:
        assert getattr(beam_job, name) is not None
    with pytest.raises(AttributeError):
        beam_job.nothing  # noqa: B018


def test_no_public_name_is_hidden_by_a_folder() -> None:
    """Python sets an imported subpackage as an attribute of the package, in place of a function of that name."""
    assert not set(beam_job._PUBLIC) & {room(module) for module in modules()}


def test_the_tests_mirror_the_package() -> None:
    rooms = {folder.name for folder in TESTS.iterdir() if (folder / "__init__.py").exists()}
    assert rooms - {"support", "seams", "launch"} == {room(module) for module in modules() if "/" in module}
    for name in rooms - {"support"}:
        assert list((TESTS / name).rglob("test_*.py")), name


def test_no_test_imports_another() -> None:
    for path in TESTS.rglob("*.py"):
        found = re.findall(r"from tests\.(?:\w+\.)*(test_\w+) import|from tests\.(conftest) import", path.read_text())
        assert not found, path
