"""What would fail or wait on a GPU fails on a simulated device, and is told where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selfsight.methods import SimCLR
from selfsight.testing import Case, check_device
from selfsight.views import Batch

SMALL = Case({"projector": (64, 32)})


class Changed(SimCLR):
    """Does something to its embeddings before the loss."""

    change: Callable[[Tensor], Tensor] = staticmethod(lambda z: z)

    def embed(self, view: Tensor) -> Tensor:
        return self.change(super().embed(view))


def scaled(z: Tensor) -> Tensor:
    return z * torch.ones(32)  # on the processor


def picked(z: Tensor) -> Tensor:
    return z.index_select(1, torch.arange(32))  # on the processor


def read(z: Tensor) -> Tensor:
    return z / z.norm().item()


def branched(z: Tensor) -> Tensor:
    return z / 2 if z.norm() > 1e3 else z


def masked(z: Tensor) -> Tensor:
    return z[z.sum(1) > -1e9]


@pytest.mark.parametrize("change", [scaled, picked, read, branched, masked], ids=lambda change: change.__name__)
def test_a_tensor_left_on_the_processor_and_a_value_read_on_the_host_are_named(change):
    method = type("Mine", (Changed,), {"change": staticmethod(change)})
    with pytest.raises(AssertionError, match=r"on a device of its own.*test_device\.py:\d+: .*z.*device=x\.device"):
        check_device(method, SMALL)


class Watching(SimCLR):
    """Measures its progress on the processor."""

    def progress(self, batch: Batch) -> Tensor:
        return torch.zeros(3)[batch.index % 3].mean()


class Stepping(SimCLR):
    """Reads a gradient after each step."""

    def after_step(self, step: int) -> None:
        assert self.projector[0].weight.grad.norm().item() >= 0


class Elsewhere(SimCLR):
    """Answers from the processor."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": super().forward(batch)["loss"].cpu()}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Watching, "progress of views on another device is on cpu"),
        (Stepping, "DataDependentOutput.*after_step|on a device of its own.*weight.grad.norm"),
        (Elsewhere, "the loss of views on another device is on cpu"),
    ],
)
def test_hooks_and_monitor_are_tried_too(method, message):
    with pytest.raises(AssertionError, match=message):
        check_device(method, SMALL)


def test_autocast_may_be_left_by_the_name_of_the_device():
    def outside(z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return z * 1.0

    check_device(type("Mine", (Changed,), {"change": staticmethod(outside)}), SMALL)
    assert torch.autocast.__module__ == "torch.amp.autocast_mode"
