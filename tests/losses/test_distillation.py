"""Teacher and student losses against lightly, and the values that the papers imply."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import DINOLoss, NegativeCosineSimilarity

from selfsight import losses


def test_negative_cosine_equals_lightly():
    p, z = torch.randn(2, 6, 5, dtype=torch.float64)
    p.requires_grad_()
    ours, theirs = losses.negative_cosine(p, z), NegativeCosineSimilarity()(p, z)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, p)[0] for value in (ours, theirs)))


def test_byol_is_the_distance_on_the_sphere():
    p, z = torch.randn(2, 6, 5, dtype=torch.float64)
    expected = sum(((a / a.norm() - b / b.norm()) ** 2).sum() for a, b in zip(p, z, strict=True)) / 6
    torch.testing.assert_close(losses.byol(p, z), expected)
    assert losses.byol(p, p).item() == pytest.approx(0)
    assert losses.negative_cosine(p, 3 * p).item() == pytest.approx(-1)


def test_mean_shift_is_the_mean_distance_to_the_neighbours():
    q, neighbours = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 3, 5, dtype=torch.float64)
    unit = torch.nn.functional.normalize
    distances = (unit(q, dim=1)[:, None] - unit(neighbours, dim=2)).square().sum(2)
    torch.testing.assert_close(losses.mean_shift(q, neighbours), distances.mean())


def test_mean_shift_with_the_target_alone_is_byol():
    q, target = torch.randn(2, 6, 5)
    torch.testing.assert_close(losses.mean_shift(q, target[:, None]), losses.byol(q, target))


@pytest.mark.parametrize("crops", [2, 5])
def test_dino_equals_lightly(crops):
    teacher = list(torch.randn(2, 6, 11, dtype=torch.float64))
    student = list(torch.randn(crops, 6, 11, dtype=torch.float64).requires_grad_())
    centre = torch.randn(11, dtype=torch.float64)
    theirs = DINOLoss(output_dim=11, student_temp=0.2)
    theirs.center = centre.view(1, 1, -1)
    expected = theirs(teacher, student, teacher_temp=0.05)
    ours = losses.dino(student, teacher, centre, 0.2, 0.05)
    torch.testing.assert_close(ours, expected)
    for mine, other in zip(torch.autograd.grad(ours, student), torch.autograd.grad(expected, student), strict=True):
        torch.testing.assert_close(mine, other)


def test_dino_of_equal_logits():
    same = torch.zeros(3, 65536)
    value = losses.dino([same] * 4, [same] * 2, torch.zeros(65536))
    assert value.item() == pytest.approx(math.log(65536), rel=1e-5)


def test_one_view_has_no_other_to_predict():
    with pytest.raises(ValueError, match="1 targets and 1 views"):
        losses.cross_view_entropy([torch.ones(2, 3)], [torch.ones(2, 3)])
