"""A method that differs between one process and two fails, and one that cannot be tried says so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from selfsight.methods import SimCLR, VICReg
from selfsight.nets import Encoder
from selfsight.testing import Case, check_two_ranks, small_encoder
from selfsight.views import Batch

SMALL = Case({"projector": (64, 32)})


class Alone(SimCLR):
    """Tells images from those of its own rank only."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        za, zb = (torch.nn.functional.normalize(self.embed(view), dim=1) for view in batch.views[:2])
        return {"loss": torch.nn.functional.cross_entropy(za @ zb.T / 0.1, torch.arange(len(za)))}


def encoder() -> Encoder:
    return small_encoder("resnet")


def test_a_loss_that_sees_its_own_rank_alone_is_noticed(gloo_pool):
    with pytest.raises(AssertionError, match="the losses of two micro-batches on rank 0 of two is not what one"):
        check_two_ranks(Alone, SMALL)


def test_methods_with_options_and_encoders_of_ones_own_are_tried(gloo_pool):
    check_two_ranks(VICReg.with_options(projector=(64, 64)), Case(encoder=encoder))


def test_a_method_that_no_other_process_can_import_is_reported(gloo_pool):
    class Local(SimCLR):
        """Defined inside a function."""

    with pytest.warns(UserWarning, match=r"Local was not tried on two ranks.*top level of a file"):
        check_two_ranks(Local, SMALL)
    with pytest.warns(UserWarning, match=r"SimCLR was not tried on two ranks"):
        check_two_ranks(SimCLR, Case(SMALL.options, encoder=lambda: small_encoder("resnet")))
