"""All cases of the battery."""

from __future__ import annotations

from hostile import arrays, images, leaks, names, tables
from hostile.case import Case

ROOMS = (images, arrays, tables, leaks, names)


def all_cases() -> list[Case]:
    found = [case for room in ROOMS for case in room.cases()]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), "every case has a name of its own"
    return found
