"""Classes that are found by their files: NAME.py of a folder holds one public class, which is called NAME.

There is no registry, and nothing is imported until it is wanted.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from selfsight.naming import imported, nearest


@dataclass(frozen=True)
class ByFile:
    """The classes of a package's files, but for base.py and files that start with an underscore.

    package: its dotted name. folder: where it lies. what: the word for such a class, such as "method".
    """

    package: str
    folder: Path
    what: str
    _read: dict[str, ast.ClassDef] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All names, in alphabetical order."""
        files = (path.stem for path in self.folder.glob("*.py"))
        return sorted(name for name in files if name != "base" and not name.startswith("_"))

    def describe(self) -> dict[str, str]:
        """The first sentence of each class's docstring, by name; imports none of them."""
        return {name: first_sentence(ast.get_docstring(self.syntax(name)) or "") for name in self.names()}

    def find(self, name: str) -> Any:
        """The class of that name, or what lies at a dotted path.

        Raises:
            ValueError: where there is none, with the nearest name.
        """
        if name in self.names():
            return getattr(importlib.import_module(f"{self.package}.{name}"), self.syntax(name).name)
        if "." not in name:
            hint = nearest(name, self.names()) or f": `selfsight list {self.what}s` says which there are"
            raise ValueError(f"no {self.what} {name!r}{hint}")
        return imported(name, self.what)

    def named(self, class_name: str) -> Any:
        """The class that is called so, or None."""
        for name in self.names():
            if self.syntax(name).name == class_name:
                return self.find(name)
        return None

    def name_of(self, found: Any) -> str:
        """The name by which `find` finds a class, an instance or a `partial` again."""
        found = found.func if isinstance(found, partial) else found
        found = found if isinstance(found, type) else type(found)
        package, _, module = found.__module__.rpartition(".")
        return module if package == self.package else f"{found.__module__}.{found.__qualname__}"

    def syntax(self, name: str) -> ast.ClassDef:
        """The one public class of a file."""
        if name not in self._read:
            tree = ast.parse((self.folder / f"{name}.py").read_text(encoding="utf-8"))
            public = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
            assert len(public) == 1, f"{name}.py must hold one public class, the {self.what}, and holds {len(public)}"
            self._read[name] = public[0]
        return self._read[name]


def first_sentence(docstring: str) -> str:
    """Of a docstring's first paragraph, in one line."""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."
