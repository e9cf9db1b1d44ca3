"""The rooms' walls: imports run one way, and what a shell needs at once does not import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import selfsight

SRC = Path(selfsight.__file__).parent

# From the top down: a room imports rooms of its own layer and of those below.
LAYERS = [
    {"__main__", "testing"},
    {"cli"},
    {"arguments", "listing", "demo"},
    {"pretrain", "evaluate", "embed", "export", "distill", "report"},
    {"engine", "gallery"},
    {"methods", "protocols"},
    {"probes", "diagnostics"},
    {"losses", "views", "nets", "targets"},
    {"data", "metrics"},
    {
        "by_file",
        "distributed",
        "memory",
        "naming",
        "precision",
        "progress",
        "logs",
        "outputs",
        "signatures",
        "texts",
        "recipes",
    },
]
DEPTH = {room: depth for depth, layer in enumerate(LAYERS) for room in layer}
VERBS = {"pretrain", "evaluate", "embed", "export"}
FILES = sorted(SRC.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room that a file belongs to; the package's own `__init__` is none."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[tuple[str, int]]:
    """Rooms of ours that a file imports, wherever in the file, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import: write `from selfsight...`"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "selfsight" and rest:
                yield rest.split(".")[0], node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_run_down(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in DEPTH, f"{path.name} is in no layer: name its room in ARCHITECTURE.md and here"
    for other, line in imported_rooms(path):
        if other in DEPTH:
            assert DEPTH[other] >= DEPTH[room], f"{path.relative_to(SRC)}:{line} imports {other}, which is above {room}"


def test_rooms_of_a_layer_do_not_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        room = room_of(path)
        graph.setdefault(room, set()).update(
            other for other, _ in imported_rooms(path) if other != room and other in DEPTH
        )
    graph.pop("__init__")
    list(TopologicalSorter(graph).static_order())


def test_the_package_root_offers_the_verbs_and_the_ways_back_to_a_run():
    assert {*VERBS, "load_encoder", "open_run"} <= set(selfsight.__all__)
    for verb in VERBS:
        assert callable(getattr(selfsight, verb)), f"selfsight.{verb} is a module: a room hides the verb"


@pytest.mark.parametrize(
    "module",
    ["selfsight", "selfsight.cli", "selfsight.arguments", "selfsight.listing", "selfsight.methods", "selfsight.demo"],
)
def test_importing_does_not_import_torch(module):
    heavy = {"torch", "timm", "lightning", "pandas", "sklearn"}
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "", f"import {module} imports {result.stdout.strip()}"


def test_every_room_says_what_it_offers():
    for folder in sorted({path.parent for path in FILES} - {SRC}):
        module = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(module), f"{folder.name}/__init__.py lacks a docstring"
