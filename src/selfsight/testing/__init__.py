"""The battery that every method passes, for methods of your own:

    from selfsight.testing import Case, check_method

    def test_mine():
        check_method(MyMethod, Case({"projector": (64, 32)}))

`check_method` runs all of `CHECKS`; each is a function of its own, to be tried and reported by itself. A `Case` says
how the method is made small, and by which recipe it learns where the common one does not suit. It needs no test runner.
"""

from selfsight.testing.battery import CHECKS, check_method
from selfsight.testing.case import Case, Learn, small_encoder
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
from selfsight.testing.images import CLASSES, IMAGES, SIZE, metadata, small_batches, small_canvases, textures
from selfsight.testing.ranks import Ranks, both_ranks
from selfsight.testing.resuming import check_resumes
from selfsight.testing.training import health, losses_of, prepare, train
from selfsight.testing.two_ranks import check_two_ranks

__all__ = [
    "CHECKS",
    "CLASSES",
    "IMAGES",
    "SIZE",
    "Case",
    "Learn",
    "Ranks",
    "both_ranks",
    "check_batch_of_one",
    "check_clusters",
    "check_device",
    "check_gradients",
    "check_half_precision",
    "check_learns",
    "check_memory",
    "check_method",
    "check_missing_metadata",
    "check_number_of_views",
    "check_optimiser",
    "check_randomness",
    "check_resumes",
    "check_same_seed",
    "check_small_crops",
    "check_state",
    "check_two_ranks",
    "health",
    "losses_of",
    "metadata",
    "prepare",
    "small_batches",
    "small_canvases",
    "small_encoder",
    "textures",
    "train",
]
