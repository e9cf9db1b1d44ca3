"""A method that forgets something where a run is resumed fails."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from torch import Tensor

from selfsight.methods import MoCoV2, SimCLR
from selfsight.nets import Encoder
from selfsight.testing import Case, check_resumes
from selfsight.views import Batch


class Counting(SimCLR):
    """Weighs its loss by batches that it has counted, and its state does not hold."""

    count = 0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.count += 1
        return {"loss": super().forward(batch)["loss"] * self.count}


class Emptying(MoCoV2):
    """Empties its queue when a state is loaded."""

    def __init__(self, encoder: Encoder, **options: Any):
        super().__init__(encoder, **options)
        self.register_load_state_dict_post_hook(lambda *_: self.empty())

    def empty(self) -> None:
        self.queue.rows.zero_()


@pytest.mark.parametrize(
    ("method", "case"),
    [
        (Counting, Case({"projector": (64, 32)})),
        (Emptying, Case({"projector": (64, 32), "queue": 36, "key_group": 6})),
    ],
)
def test_a_method_that_forgets_is_noticed(method, case):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(AssertionError, match=r"a resumed run is not what an unbroken one is: keep in the state"):
        check_resumes(method, case)
    assert signal.getsignal(signal.SIGTERM) is handler
