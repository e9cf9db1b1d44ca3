"""The whole battery, as a user calls it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from conformance.hooked import Hooked
from selfsight import testing
from selfsight.methods import SimCLR
from selfsight.testing import CHECKS, Case, check_method
from selfsight.views import Batch


class Broken(SimCLR):
    """Needs a label without saying so, and its loss is in half precision under autocast."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        loss = super().forward(batch)["loss"] + 0.0 * batch.metadata["label"].sum()
        return {"loss": loss.bfloat16() if torch.is_autocast_enabled("cpu") else loss}


def test_all_that_fails_is_named_and_the_random_state_is_left_alone(monkeypatch):
    monkeypatch.setattr("selfsight.testing.battery.CHECKS", [c for c in CHECKS if c.__name__ != "check_two_ranks"])
    before = torch.get_rng_state()
    with pytest.raises(AssertionError) as failure:
        check_method(Broken, Case({"projector": (64, 32)}))
    assert torch.equal(torch.get_rng_state(), before)
    said = str(failure.value)
    assert said.startswith("Broken fails 2 of 15 checks:\n")
    assert "\n  check_half_precision: the loss is torch.bfloat16 under autocast" in said
    assert "\n  check_missing_metadata: KeyError: 'label' (" in said and "test_battery.py" in said


def test_a_method_that_clusters_and_uses_every_hook_passes(gloo_pool):
    check_method(Hooked, Case(own_views=True, state=("bank", "cluster")))


def test_all_checks_are_public():
    assert all(getattr(testing, check.__name__) is check and check.__doc__ for check in CHECKS)
    assert {check.__name__ for check in CHECKS} == {name for name in testing.__all__ if name[:6] == "check_"} - {
        "check_method"
    }


def test_an_encoder_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no encoder 'vgg': use 'resnet', 'vit'"):
        Case(encoder="vgg").build("simclr")


def test_the_battery_needs_no_test_runner():
    code = "import sys, selfsight.testing; assert 'pytest' not in sys.modules, 'pytest is imported'"
    subprocess.run([sys.executable, "-c", code], check=True)
