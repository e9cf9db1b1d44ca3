"""Which changes of the code do the tests let pass? A seeded sample of a room's mutants, one at a time.

    .venv/bin/python -m pip install --target build/cosmic-ray cosmic-ray
    PYTHONPATH=build/cosmic-ray .venv/bin/python benchmarks/mutants.py data --count 80

A line of the room is drawn, then one of the changes that cosmic-ray knows for it, and made in a copy of the tree.
The test file that mirrors the module meets it first, then for `--seconds` the others that name what the module
defines, or those of the verbs where none does. What nothing stopped is printed, and all are kept in `--out`, a line
of JSON each. Annotations stay as they are. Tests run in forks of a process that has imported the heavy packages, so
that starting takes no time.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast  # pyright: ignore[reportMissingImports]
from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
from cosmic_ray.plugins import get_operator, operator_names  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).resolve().parents[1]
WARM = ("lightning.pytorch", "pandas", "pytest", "scipy.stats", "sklearn.datasets", "timm", "torchvision")
LEFT_OUT = ("Variable", "_Is", "Shift", "BitXor", "BinaryOperator_BitOr")  # nonsense, or unions of types
OPTIONS = ["-qx", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def main() -> None:
    """Draw, try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", help="a folder of src/selfsight, or `.` for the files above them")
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=150, help="the longest that other tests than the mirror run")
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    options = parser.parse_args()
    out = options.out.resolve()
    os.environ.setdefault("SELFSIGHT_DATA", str(ROOT.parent / "shared" / "data"))
    with tempfile.TemporaryDirectory() as folder:
        tree = shutil.copytree(
            ROOT, Path(folder) / "tree", ignore=shutil.ignore_patterns(".*", "build", "runs", "site")
        )
        os.chdir(tree)
        sys.path.insert(0, f"{tree}/src")
        sys.dont_write_bytecode = True
        os.environ.update(
            PYTHONPATH=f"{tree}/src",
            PYTHONDONTWRITEBYTECODE="1",
            OMP_NUM_THREADS="1",
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        )
        for name in WARM:
            __import__(name)
        for path, line, code in sample(Path("src/selfsight") / options.room, options.count, options.seed):
            whole = path.read_text()
            stages = [
                (tests, limit) for tests, limit in zip(tests_of(path), (600.0, options.seconds), strict=True) if tests
            ]
            usual = [unchanged(*stage) for stage in stages]
            path.write_text(code)
            survived = not any(notices(*stage, *before) for stage, before in zip(stages, usual, strict=True))
            path.write_text(whole)
            rows = difflib.unified_diff(whole.splitlines(), code.splitlines(), lineterm="", n=0)
            diff = [row for row in rows if not row.startswith(("---", "+++", "@@"))]
            with out.open("a") as file:
                file.write(json.dumps({"file": str(path), "line": line, "survived": survived, "diff": diff}) + "\n")
            if survived:
                print(f"{path}:{line}", *diff, sep="\n", flush=True)


def sample(room: Path, count: int, seed: int) -> Iterator[tuple[Path, int, str]]:
    """File, line and changed text of `count` mutants."""
    chance = random.Random(seed)
    operators = [get_operator(name)() for name in operator_names() if not any(part in name for part in LEFT_OUT)]
    changes: dict[tuple[Path, int], list] = {}
    for path in sorted(room.glob("*.py")):
        for operator in operators:
            places = [p for node in ast_nodes(get_ast(path.read_text())) for p in operator.mutation_positions(node)]
            for number, ((line, _), _) in enumerate(places):
                changes.setdefault((path, line), []).append((operator, number))
    lines = chance.sample(sorted(changes), len(changes))
    for path, line in lines:
        whole = path.read_text()
        code = mutate_code(whole, *chance.choice(changes[path, line]))
        if count and code is not None and meaning(code) not in ("", meaning(whole)):
            count -= 1
            yield path, line, code


def meaning(code: str) -> str:
    """A syntax tree without annotations, which no test need hold; nothing where the code is none."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        for field in {"annotation", "returns"} & set(node._fields):
            setattr(node, field, None)
    return ast.dump(tree)


@cache
def tests_of(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The test file that mirrors a module, and the others that name what it defines, the most often first."""
    stem, room = path.stem.lstrip("_"), Path("tests", *path.parts[2:-1])
    defined = (ast.FunctionDef, ast.ClassDef)
    names = {stem} | {node.name for node in ast.parse(path.read_text()).body if isinstance(node, defined)}
    word = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\b")
    counts = {test: len(word.findall(test.read_text())) for test in sorted(Path("tests").rglob("test_*.py"))}
    mirror = tuple(str(test) for test in counts if test == room / f"test_{stem}.py")
    others = sorted((test for test, count in counts.items() if count), key=lambda test: -counts[test])
    if not mirror and not others:
        others = sorted(Path("tests").glob("test_*.py"), key=lambda test: test.stem != "test_pretrain")
    return mirror, tuple(str(test) for test in others if str(test) not in mirror)


@cache
def unchanged(tests: tuple[str, ...], limit: float) -> tuple[int | None, float]:
    """What tests of the code as it is answer, and the seconds they take."""
    started = time.monotonic()
    return run(tests, limit), time.monotonic() - started


def notices(tests: tuple[str, ...], limit: float, before: int | None, seconds: float) -> bool:
    """Whether the tests now answer otherwise. Those that outlast the limit anyway may fail within it."""
    if before not in (0, None):
        print(f"no proof, since they fail on the code as it is: {' '.join(tests)}", flush=True)
        return False
    answer = run(tests, 20 + 4 * seconds if before == 0 else limit)
    return answer != before and answer != 0


def run(tests: tuple[str, ...], limit: float) -> int | None:
    """pytest's answer in a fork; none where it takes longer than `limit` seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        import pytest

        os._exit(int(pytest.main([*OPTIONS, *tests])))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    main()
