"""The whole battery for one method."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch

from selfsight.testing.case import Build, Case, class_of
from selfsight.testing.checks import (
    check_batch_of_one,
    check_clusters,
    check_gradients,
    check_half_precision,
    check_learns,
    check_memory,
    check_missing_metadata,
    check_number_of_views,
    check_optimiser,
    check_randomness,
    check_same_seed,
    check_small_crops,
    check_state,
)
from selfsight.testing.device import check_device
from selfsight.testing.resuming import check_resumes
from selfsight.testing.two_ranks import check_two_ranks

CHECKS: tuple[Callable[[Build, Case], Any], ...] = (
    check_gradients,
    check_optimiser,
    check_learns,
    check_memory,
    check_clusters,
    check_half_precision,
    check_device,
    check_state,
    check_same_seed,
    check_randomness,
    check_two_ranks,
    check_resumes,
    check_number_of_views,
    check_small_crops,
    check_batch_of_one,
    check_missing_metadata,
)
"""All checks, in the order in which `check_method` runs them."""


def check_method(method: Build, case: Case | None = None) -> None:
    """Run every check of the battery on a method, and raise an `AssertionError` that names all that failed.

    method: as `pretrain` takes it: a class, a name, or what `with_options` answers. case: its small sizes and its
    own recipe; without one it is built with the keywords that it has. Takes some seconds; two processes are
    started once, for the check that two ranks are one. torch's random state is left as it was.
    """
    failed, first = [], None
    for check in CHECKS:
        try:
            with torch.random.fork_rng(devices=[]):
                check(method, case or Case())
        except Exception as error:
            first = first or error
            failed.append(f"{check.__name__}: {_said(error)}")
    if failed:
        name, lines = class_of(method).__name__, "\n  ".join(failed)
        raise AssertionError(f"{name} fails {len(failed)} of {len(CHECKS)} checks:\n  {lines}") from first


def _said(error: Exception) -> str:
    """An assertion's own words; of any other error its kind and the line, too."""
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno}: {last.line})"
