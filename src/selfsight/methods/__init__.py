"""Methods by name, found by their files: there is no registry, and no torch until one is wanted.

A method is a file of this package that holds one public class, a `Method`; the file's name is the
method's name. `from selfsight.methods import VICReg` works for each of them, too.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight.naming import imported, nearest

if TYPE_CHECKING:
    from selfsight.methods.base import Method, Optimisation, Plan, Wants

__all__ = ["Method", "Optimisation", "Plan", "Wants", "describe_methods", "find_method", "method_name", "method_names"]

_FOLDER = Path(__file__).parent


def method_names() -> list[str]:
    """Names of all methods, in alphabetical order."""
    files = (path.stem for path in _FOLDER.glob("*.py"))
    return sorted(name for name in files if name != "base" and not name.startswith("_"))


def describe_methods() -> dict[str, str]:
    """The first sentence of each method's docstring, by name; imports none of them."""
    return {name: _first_sentence(ast.get_docstring(_class_of(name)) or "") for name in method_names()}


def find_method(method: str | Callable[..., Method]) -> Callable[..., Method]:
    """What builds a method from an encoder.

    method: a name ("vicreg"), a dotted path to a class of your own ("mypackage.MyMethod"), a class,
        or what `VICReg.with_options(...)` answers.
    Raises a `ValueError` that names the nearest method when there is none of that name.
    """
    found: Any = _by_name(method) if isinstance(method, str) else method
    built = found.func if isinstance(found, partial) else found
    from selfsight.methods.base import Method

    if not (isinstance(built, type) and issubclass(built, Method)):
        raise ValueError(
            f"{method!r} is not a method: give a name, a class that derives from Method, or its with_options"
        )
    return found


def method_name(method: str | Callable[..., Method] | Method) -> str:
    """The name by which `find_method` finds `method` again: "vicreg", or "mypackage.MyMethod"."""
    if isinstance(method, str):
        return method
    built: Any = method.func if isinstance(method, partial) else method
    built = built if isinstance(built, type) else type(built)
    package, _, module = built.__module__.rpartition(".")
    return module if package == __name__ else f"{built.__module__}.{built.__qualname__}"


def _by_name(name: str) -> Any:
    if name in method_names():
        module = importlib.import_module(f"{__name__}.{name}")
        return getattr(module, _class_of(name).name)
    if "." not in name:
        hint = nearest(name, method_names()) or ": `selfsight list methods` says which there are"
        raise ValueError(f"no method {name!r}{hint}")
    return imported(name, "method")


@cache
def _class_of(name: str) -> ast.ClassDef:
    """The one public class in a method's file, as syntax."""
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    assert len(classes) == 1, f"methods/{name}.py must hold one public class, the method, and holds {len(classes)}"
    return classes[0]


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."


def __getattr__(name: str) -> Any:
    """`Method`, what it is told and wants, and every method's class, imported when first asked for."""
    if name in ("Method", "Optimisation", "Plan", "Wants"):
        return getattr(importlib.import_module(f"{__name__}.base"), name)
    for method in () if name.startswith("_") else method_names():
        if _class_of(method).name == name:
            return _by_name(method)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
