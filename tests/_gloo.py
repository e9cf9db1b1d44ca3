"""The fixture `gloo_pool`: two processes joined by gloo, kept for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfsight.testing.ranks import Ranks, both_ranks


@pytest.fixture(scope="session")
def gloo_pool() -> Iterator[Ranks]:
    """`gloo_pool.run(function, *args)` on two ranks: `[result of rank 0, result of rank 1]`."""
    yield both_ranks()
    both_ranks().close()
