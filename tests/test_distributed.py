"""Collectives, their gradients, and batch norm over two ranks."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn

from selfsight.distributed import (
    SyncBatchNorm,
    convert_sync_batchnorm,
    gather,
    rank,
    reduce_max,
    reduce_mean,
    reduce_sum,
    world_size,
)

SHAPES = [(6, 4), (6, 4, 5), (6, 4, 5, 3), (6, 4, 3, 2, 5)]


def test_one_process_is_the_identity():
    x = torch.randn(3, 2)
    assert (rank(), world_size()) == (0, 1)
    assert all(function(x) is x for function in (gather, reduce_sum, reduce_max))
    assert torch.equal(reduce_mean(x), x)


def collect(x, weights):
    mine = x[dist.get_rank()].requires_grad_()
    answers = {}
    for function in (gather, reduce_sum, reduce_mean):
        value = function(mine)
        weight = weights[dist.get_rank(), : len(value)]
        (gradient,) = torch.autograd.grad((value * weight).sum(), mine)
        answers[function.__name__] = value.detach(), gradient
    return answers, reduce_max(mine.detach()), (rank(), world_size())


def test_collectives_and_their_gradients(gloo_pool):
    x, weights = torch.randn(2, 3, 2), torch.randn(2, 6, 2)
    for number, (answers, largest, place) in enumerate(gloo_pool.run(collect, x, weights)):
        assert place == (number, 2)
        assert torch.equal(largest, x.amax(0))
        value, gradient = answers["gather"]
        assert torch.equal(value, x.flatten(0, 1))
        torch.testing.assert_close(gradient, weights.sum(0)[3 * number : 3 * number + 3])
        for name, share in (("reduce_sum", 1), ("reduce_mean", 0.5)):
            value, gradient = answers[name]
            torch.testing.assert_close(value, share * x.sum(0))
            torch.testing.assert_close(gradient, share * weights[:, :3].sum(0))


def test_gathered_labels_keep_their_type(gloo_pool):
    assert all(result.tolist() == [4, 5, 4, 5] for result in gloo_pool.run(gather, torch.tensor([4, 5])))


def batch_norm_kind(shape):
    return {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)]


def normalise_shard(norm, x, weight):
    norm = convert_sync_batchnorm(norm)
    assert type(norm) is SyncBatchNorm
    half = len(x) // 2
    part = slice(dist.get_rank() * half, (dist.get_rank() + 1) * half)
    results = []
    for _ in range(2):
        mine = x[part].clone().requires_grad_()
        norm.zero_grad()
        out = norm(mine)
        (out * weight[part]).sum().backward()
        gradients = [parameter.grad.clone() for parameter in norm.parameters()]
        results.append((out.detach(), mine.grad, gradients))
    return results[-1], norm.state_dict(), norm.eval()(x[part]).detach()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_sync_batch_norm_equals_batch_norm_on_the_whole_batch(gloo_pool, shape, options):
    x = 3 + 2 * torch.randn(shape, dtype=torch.float64)
    weight = torch.randn(shape, dtype=torch.float64)
    norm = batch_norm_kind(shape)(shape[1], dtype=torch.float64, **options)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    shards = gloo_pool.run(normalise_shard, norm, x, weight)

    for _ in range(2):
        leaf = x.clone().requires_grad_()
        norm.zero_grad()
        expected = norm(leaf)
        (expected * weight).sum().backward()
    torch.testing.assert_close(torch.cat([shard[0][0] for shard in shards]), expected.detach())
    torch.testing.assert_close(torch.cat([shard[0][1] for shard in shards]), leaf.grad)
    for number, parameter in enumerate(norm.parameters()):
        torch.testing.assert_close(sum(shard[0][2][number] for shard in shards), parameter.grad)
    for _, state, _ in shards:
        torch.testing.assert_close(state, norm.state_dict())
    if options.get("track_running_stats", True):
        torch.testing.assert_close(torch.cat([shard[2] for shard in shards]), norm.eval()(x).detach())


def unequal_rows(x):
    norm = SyncBatchNorm(2)
    part = x[:1] if dist.get_rank() == 0 else x[1:]
    return norm(part).detach(), norm.running_var


def test_sync_batch_norm_with_unequal_rows(gloo_pool):
    x = torch.randn(5, 2) * 4 - 100
    (first, variance), (second, _) = gloo_pool.run(unequal_rows, x)
    plain = nn.BatchNorm1d(2)
    torch.testing.assert_close(torch.cat([first, second]), plain(x).detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(variance, plain.running_var)


def half_precision(x):
    return SyncBatchNorm(3)(x[dist.get_rank()]).detach()


def test_sync_batch_norm_keeps_the_type_of_its_input(gloo_pool):
    x = torch.randn(2, 8, 3).bfloat16()
    out = torch.cat(gloo_pool.run(half_precision, x))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, nn.BatchNorm1d(3)(x.flatten(0, 1)), atol=2e-2, rtol=2e-2)


def test_conversion_keeps_weights_names_and_what_refuses():
    apart = nn.Sequential(nn.BatchNorm1d(3))
    apart.sync_batchnorm = False
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), apart)
    before = {name: tensor.data_ptr() for name, tensor in net.state_dict().items()}
    converted = convert_sync_batchnorm(net.eval())
    assert converted is net and type(net[1]) is SyncBatchNorm and type(apart[0]) is nn.BatchNorm1d
    assert {name: tensor.data_ptr() for name, tensor in net.state_dict().items()} == before
    assert not net[1].training
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm1d(3), device="cuda"), nn.SyncBatchNorm)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])
def test_conversion_keeps_what_timm_nets_compute(name):
    net = timm.create_model(name, num_classes=0)
    converted = convert_sync_batchnorm(copy.deepcopy(net))
    assert any(isinstance(module, SyncBatchNorm) for module in converted.modules())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), converted(x))
    assert net.state_dict().keys() == converted.state_dict().keys()
