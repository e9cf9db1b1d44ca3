"""Methods by name, found by their files: there is no registry, and no torch until one is wanted.

A method is a file of this package that holds one public class, a `Method`; the file's name is the
method's name. `from selfsight.methods import VICReg` works for each of them, too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight.by_file import ByFile

if TYPE_CHECKING:
    from selfsight.methods.base import Method, Optimisation, Plan, Wants

__all__ = ["Method", "Optimisation", "Plan", "Wants", "describe_methods", "find_method", "method_name", "method_names"]

METHODS = ByFile(__name__, Path(__file__).parent, "method")


def method_names() -> list[str]:
    """Names of all methods, in alphabetical order."""
    return METHODS.names()


def describe_methods() -> dict[str, str]:
    """The first sentence of each method's docstring, by name; imports none of them."""
    return METHODS.describe()


def find_method(method: str | Callable[..., Method]) -> Callable[..., Method]:
    """What builds a method from an encoder.

    method: a name ("vicreg"), a dotted path to a class of your own ("mypackage.MyMethod"), a class,
        or what `VICReg.with_options(...)` answers.
    Raises a `ValueError` that names the nearest method when there is none of that name.
    """
    found: Any = METHODS.find(method) if isinstance(method, str) else method
    built = found.func if isinstance(found, partial) else found
    from selfsight.methods.base import Method

    if not (isinstance(built, type) and issubclass(built, Method)):
        raise ValueError(
            f"{method!r} is not a method: give a name, a class that derives from Method, or its with_options"
        )
    return found


def method_name(method: str | Callable[..., Method] | Method) -> str:
    """The name by which `find_method` finds `method` again: "vicreg", or "mypackage.MyMethod"."""
    return method if isinstance(method, str) else METHODS.name_of(method)


def __getattr__(name: str) -> Any:
    """`Method`, what it is told and wants, and every method's class, imported when first asked for."""
    if name in ("Method", "Optimisation", "Plan", "Wants"):
        return getattr(importlib.import_module(f"{__name__}.base"), name)
    found = None if name.startswith("_") else METHODS.named(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
