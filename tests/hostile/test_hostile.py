"""A seeded part of the battery; `make hostile` tries the whole."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from hostile.case import Case
from hostile.cases import KINDS, ROOMS, all_cases
from hostile.trying import SEED, problem_of

CASES = all_cases()
SHARE = 0.1
MOST = 40  # of one stratum


def stratum(case: Case) -> tuple[int, str]:
    """Cases of one kind that are made by one function: the first two words of their names."""
    return case.kind, "/".join(case.name.split("/")[:2])


def sample(cases: Iterable[Case]) -> list[Case]:
    """Some cases of each stratum, the same in every run and in every process."""
    strata: dict[tuple[int, str], list[Case]] = {}
    for case in cases:
        strata.setdefault(stratum(case), []).append(case)
    draw = random.Random(SEED)
    return [
        case
        for key in sorted(strata)
        for case in draw.sample(strata[key], min(len(strata[key]), MOST, max(2, round(SHARE * len(strata[key])))))
    ]


CHOSEN = sample(CASES)


@pytest.mark.filterwarnings("ignore")  # odd data make other libraries warn
@pytest.mark.parametrize("case", CHOSEN, ids=[case.name.encode("unicode_escape").decode() for case in CHOSEN])
def test_case(case: Case, tmp_path):
    problem = problem_of(case, tmp_path)
    assert problem is None, f"{case.name}: {problem}"


def test_the_battery_holds_all_kinds():
    names = Counter(case.name for case in CASES)
    assert len(CASES) >= 1_000
    assert not [name for name, times in names.items() if times > 1], "every case has a name of its own"
    assert {case.kind for case in CASES} == set(KINDS) == {case.kind for case in CHOSEN}


@pytest.mark.parametrize("room", ROOMS, ids=[room.__name__.rpartition(".")[2] for room in ROOMS])
def test_every_room_is_met(room):
    own = {case.name for case in room.cases()}
    assert own
    assert own & {case.name for case in CHOSEN}
