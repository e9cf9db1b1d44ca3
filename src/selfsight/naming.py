"""Names: what a dotted path means, the nearest to a mistyped one, and any bytes as text in one line."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import metadata
from typing import Any
from unicodedata import category

FEW = 30
RUN_MARKER = "selfsight-run.json"  # lies in every run's folder: what reads images leaves that folder out


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`: did you mean 'X'?` with the nearest known name, or what there is where none is near and they are few.

    With a `prefix`, such as `--` for options, names stand as they are typed.
    """
    known = sorted(known)
    found = get_close_matches(name, known, n=1, cutoff=0.5)
    if found:
        return f": did you mean {prefix}{found[0]}?" if prefix else f": did you mean {found[0]!r}?"
    if not known:
        return ": there are none"
    return f": there are {', '.join(prefix + one for one in known)}" if len(known) <= FEW else ""


def printable(name: object) -> str:
    """A path or name as text for a log, a table or a page: control characters and bytes that are no UTF-8 escaped."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(repr(one)[1:-1] if category(one) in ("Cc", "Zl", "Zp") else one for one in text)


def listed(names: list[str], most: int = 10) -> str:
    """Names with commas, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def imported(path: str, what: str) -> Any:
    """What lies at a dotted path, such as "mypackage.Net".

    Raises:
        ValueError: where there is no such module, or nothing of that name in it; what: whose path it is, in words.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"no module {error.name!r} for {what} {path!r}: is its folder on PYTHONPATH?") from error
    if not hasattr(module, name):
        raise ValueError(f"{module_name} has no {name!r}{nearest(name, vars(module))}")
    return getattr(module, name)
