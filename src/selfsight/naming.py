"""Names that were mistyped."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

FEW = 30


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
