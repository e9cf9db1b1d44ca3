"""All cases of the battery."""

from __future__ import annotations

from hostile import arrays, fixed, folders, images, leaks, names, objects, options, special, tables
from hostile.case import Case

ROOMS = (images, arrays, tables, leaks, names, options, fixed, folders, special, objects)
KINDS = {
    1: "what is fixed by the run",
    2: "numbers, classes and no label",
    3: "what leaks from training into test",
    4: "what is read and what is left out",
    5: "pixels",
    6: "values that are no numbers",
    7: "nobody's data is lost or mixed",
    8: "nothing waits for ever",
    9: "options",
    10: "Python objects",
    11: "channels and volumes",
}


def all_cases() -> list[Case]:
    found = [case for room in ROOMS for case in room.cases()]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), "every case has a name of its own"
    return found
