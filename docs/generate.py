"""Write the tables of README.md that code knows best: `make docs`. A test says when they are out of date."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from selfsight import methods

README = Path(__file__).resolve().parents[1] / "README.md"
PAPER = re.compile(r"[A-Z][^:]*: (?P<title>[^()]*?) \((?P<venue>[^()]*?\d{4})\)")


def methods_table() -> str:
    """A row a method: its name, what it does, its paper."""
    rows = ["| method | what it learns by | paper |", "| --- | --- | --- |"]
    for name, sentence in methods.describe_methods().items():
        title, venue = paper(name)
        rows.append(f"| `{name}` | {sentence.rstrip('.')} | {title} ({venue}) |")
    return "\n".join(rows)


def paper(name: str) -> tuple[str, str]:
    """Title and venue from the docstring of a method's class, which is not imported."""
    tree = ast.parse((Path(methods.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    (method,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))
    about = (ast.get_docstring(method) or "").split("\n\n")[1]
    found = list(PAPER.finditer(" ".join(about.split())))
    assert found, f"the docstring of {name} names no paper as `Authors: Title (Venue 2020)`"
    return found[-1]["title"], found[-1]["venue"]  # the last is the version's own


def fill(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers `name` replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"the markers {begin} and {end} are missing"
    return f"{before}{begin}\n{content}\n{end}{after}"


def generate(text: str) -> str:
    """README.md with its tables up to date."""
    return fill(text, "methods", methods_table())


if __name__ == "__main__":
    README.write_text(generate(README.read_text(encoding="utf-8")), encoding="utf-8")
