"""The shape of the house: imports go one way, the door opens fast, public things are documented."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "elektronn"
FILES = sorted(ROOT.rglob("*.py"))

BASE = "errors axes registry settings artefacts"
ALLOWED = {
    "errors": "",
    "axes": "errors",
    "registry": "errors",
    "settings": "registry errors",
    "artefacts": "errors",
    "geometry": "errors axes",
    "compiled": "",
    "volumes": f"{BASE} compiled geometry",
    "sampling": f"{BASE} compiled geometry volumes",
    "network": f"{BASE} compiled geometry",
    "training": f"{BASE} geometry sampling network volumes.address",
    "prediction": f"{BASE} compiled geometry network volumes",
    "evaluation": f"{BASE} compiled volumes",
    "segmentation": f"{BASE} compiled volumes",
    "report": f"{BASE} volumes",
    "viewing": f"{BASE} volumes",
    "config": f"{BASE} volumes sampling network training prediction segmentation evaluation report",
    "legacy": "errors registry axes geometry network",
    "workflow": f"{BASE} config volumes",
    "console": "errors registry artefacts training.commands training.control training.facade",
    "cli": f"{BASE} geometry volumes sampling network training prediction segmentation evaluation report viewing config legacy workflow console",
    "__main__": "cli",
    "__init__": "",
}
"""Room → rooms (or modules) that it may import. An allow-list: what is not here is forbidden."""


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it, without the package name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("elektronn.") for name in found if name.startswith("elektronn.")}


def within(name: str, allowed: list[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_rooms_before_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    allowed = [room, *ALLOWED[room].split()]
    assert sorted(name for name in imported(path) if not within(name, allowed)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_cache_of_a_compiled_function_knows_the_files_that_it_is_made_of(path: Path) -> None:
    """numba looks at the file of a function only; ``elektronn.compiled`` tells of the others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("elektronn")
        for alias in node.names
    }
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        used = {name.id for part in function.body for name in ast.walk(part) if isinstance(name, ast.Name)}
        for decorator in map(ast.unparse, function.decorator_list):
            if "cache=True" in decorator:
                assert not used & ours.keys(), f"{function.name}: {sorted(used & ours.keys())}"
            if decorator == "_compiled":
                made = next(
                    ast.unparse(node.value)
                    for node in tree.body
                    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == decorator
                )
                modules = {ours[name].rpartition(".")[2] for name in used & ours.keys()}
                assert all(module in made for module in modules), f"{function.name}: {made} lacks one of {modules}"


def test_no_import_cycles() -> None:
    graph = {_module(path): set(imported(path)) for path in FILES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name in graph and name not in done:
            for parent in graph[name]:
                visit(parent, (*trail, name))
            done.add(name)

    for module in graph:
        visit(module, ())


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize(
    "code",
    ["import elektronn.cli.main as m; m.parser('train')", "import elektronn.workflow.layout, elektronn.config.load"],
)
def test_the_door_opens_without_torch_and_numba(code: str) -> None:
    check = f"import sys; {code}; print([n for n in ('torch', 'numba', 'matplotlib', 'scipy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_settings_module_knows_the_validation_library() -> None:
    users = [path.relative_to(ROOT).as_posix() for path in FILES if "pydantic" in _imports(path)]
    assert users == ["settings.py"]


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in names}


def test_functions_and_files_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None and _length(node) > 60
    ]
    wide = [str(path.relative_to(ROOT)) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert (long, wide) == ([], [])


def _length(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = (first.end_lineno or 0) + 1 if text else node.lineno
    return (node.end_lineno or 0) - start + 1
