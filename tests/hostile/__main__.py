"""`python -m tests.hostile [PATTERN ...]` tries the cases whose names hold a pattern, all without one."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hostile.cases import KINDS, all_cases
from hostile.trying import problem_of


def main(patterns: list[str]) -> int:
    chosen = [case for case in all_cases() if not patterns or any(pattern in case.name for pattern in patterns)]
    wrong, slow = 0, Counter()
    for case in chosen:
        start = time.perf_counter()
        problem = problem_of(case)
        slow[case.name] = time.perf_counter() - start
        if problem:
            wrong += 1
            print(f"{case.name}\n    {problem}", flush=True)
    print(f"{len(chosen):,} cases, {wrong} wrong, {sum(slow.values()):.0f} s; the longest:")
    for name, seconds in slow.most_common(5):
        print(f"    {seconds:5.1f} s  {name}")
    kinds = Counter(case.kind for case in chosen)
    print("by kind: " + ", ".join(f"{kind} {KINDS[kind]}: {kinds[kind]:,}" for kind in sorted(kinds)))
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
