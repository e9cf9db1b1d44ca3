"""Sinkhorn and swapped prediction against lightly and the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightly.loss import SwaVLoss

from selfsight import losses


def cosines(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def sinkhorn_formula(scores, epsilon, iterations):
    q = np.exp(scores / epsilon)
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(0, keepdims=True) * q.shape[1]
        q /= q.sum(1, keepdims=True) * q.shape[0]
    return q * len(q)


@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_is_its_formula(iterations):
    scores = cosines(12, 5)
    expected = torch.from_numpy(sinkhorn_formula(scores.numpy(), 0.05, iterations))
    torch.testing.assert_close(losses.sinkhorn(scores, 0.05, iterations), expected)


def test_sinkhorn_balances_and_its_rows_sum_to_one():
    codes = losses.sinkhorn(0.3 * cosines(64, 4), iterations=50)
    torch.testing.assert_close(codes.sum(1), torch.ones(64, dtype=torch.float64))
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 16.0, dtype=torch.float64), rtol=1e-3, atol=0)


def test_sinkhorn_survives_an_unused_prototype():
    scores = torch.full((6, 3), 0.5)
    scores[:, 2] = -50
    codes = losses.sinkhorn(scores)
    torch.testing.assert_close(codes.sum(1), torch.ones(6))


def sinkhorn_of_shard(scores):
    return losses.sinkhorn(scores.chunk(2)[dist.get_rank()])


def test_sinkhorn_balances_over_ranks(gloo_pool):
    scores = cosines(12, 5)
    scores[6:] *= 2  # each rank with a maximum of its own
    torch.testing.assert_close(torch.cat(gloo_pool.run(sinkhorn_of_shard, scores)), losses.sinkhorn(scores))


def test_swapped_prediction_equals_lightly():
    scores = [cosines(8, 5).requires_grad_() for _ in range(5)]
    codes = [losses.sinkhorn(view) for view in scores[:2]]
    ours = losses.swapped_prediction(scores, codes, temperature=0.2)
    theirs = SwaVLoss(temperature=0.2)(scores[:2], scores[2:])[0]
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, scores), torch.autograd.grad(theirs, scores), strict=True):
        torch.testing.assert_close(mine, other)


def test_swapped_prediction_of_equal_scores():
    same = torch.full((8, 30), 0.2)
    value = losses.swapped_prediction([same] * 3, [losses.sinkhorn(same)] * 2)
    assert value.item() == pytest.approx(math.log(30), rel=1e-6)
