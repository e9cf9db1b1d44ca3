"""How mkdocstrings reads our docstrings: `name: text.` lines, one or several names each, become a list of keywords."""

from __future__ import annotations

import re
from typing import Any

import griffe

NAMES = r"(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*): "
LINE = re.compile(NAMES)
WITHIN = re.compile(r"(?<=[.;]) " + NAMES)


class Keywords(griffe.Extension):
    """Turns the keyword lines of every class's and function's docstring into a Markdown list."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """A class's keywords are its constructor's or its fields."""
        listed(cls, {*cls.members, *parameters(cls.members.get("__init__"))})

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """A function's keywords are its parameters."""
        listed(func, parameters(func))


def parameters(function: Any) -> set[str]:
    """Names of a function's parameters."""
    return {parameter.name for parameter in getattr(function, "parameters", [])}


def listed(owner: Any, known: set[str]) -> None:
    """Make items of what begins with names of `known`, with their continuation lines."""
    if owner.docstring is None:
        return

    def item(found: re.Match[str], before: str = "") -> str:
        names = found["names"].split(", ")
        return f"{before}- {', '.join(f'`{name}`' for name in names)}: " if set(names) <= known else found[0]

    lines: list[str] = []
    inside = False
    for line in owner.docstring.value.splitlines():
        begins = LINE.sub(item, line) if LINE.match(line) else line
        if begins != line:
            lines += [""] * bool(lines and lines[-1] and not inside)  # a list begins after an empty line
            inside = True
        elif inside and line.strip() and not line.startswith("- "):
            begins = f"  {line.strip()}"
        elif not line.startswith("- "):
            inside = False
        lines += WITHIN.sub(lambda found: item(found, "\n"), begins).splitlines() if inside else [line]
    owner.docstring.value = "\n".join(lines)
