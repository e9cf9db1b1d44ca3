"""Guests that a method looks at and never changes."""

from __future__ import annotations

import copy

import torch
from torch import nn

from selfsight.distributed import convert_sync_batchnorm
from selfsight.nets import EMA, Frozen


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = nn.Linear(4, 2)
        self.guest = Frozen(net())

    def forward(self, x):
        return self.own(self.guest(x))


def test_a_guest_stays_in_evaluation_mode_and_never_changes():
    host = Host().train()
    assert host.own.training and not any(part.training for part in host.guest.module.modules())
    x = torch.randn(8, 3, requires_grad=True)
    before = {name: value.clone() for name, value in host.guest.module.state_dict().items()}
    assert torch.equal(host(x), host(x)), "no dropout"
    host(x).sum().backward()
    assert x.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in host.guest.module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in host.guest.module.state_dict().items())


def test_a_guest_is_neither_saved_nor_optimised():
    host = Host()
    assert sorted(host.state_dict()) == ["own.bias", "own.weight"]
    assert len(list(host.parameters())) == 2
    other = Host()
    other.load_state_dict(host.state_dict())


def test_a_guest_moves_with_its_host_and_keeps_its_batch_norm():
    host = convert_sync_batchnorm(Host(), torch.device("cpu")).double()
    assert host.guest.module[0].weight.dtype == torch.float64
    assert type(host.guest.module[1]) is nn.BatchNorm1d
    assert host(torch.randn(2, 3, dtype=torch.float64)).dtype == torch.float64
    assert host.to("meta").guest.module[1].running_mean.device.type == "meta"


def test_copies_of_a_host_share_its_guest():
    host = Host()
    assert copy.deepcopy(host).guest.module is host.guest.module
    assert EMA(host).module.guest.module is host.guest.module


def test_the_digest_is_that_of_the_weights():
    one, same, other = Frozen(net()), Frozen(net()), Frozen(nn.Linear(3, 4))
    assert one.digest == same.digest != other.digest
    changed = net()
    with torch.no_grad():
        changed[0].weight[0, 0] += 1e-3
    assert Frozen(changed).digest != one.digest
