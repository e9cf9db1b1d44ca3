"""The teacher follows the student by the plain formula, and never learns by gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from selfsight.nets import EMA, DINOHead, build_encoder, cosine_momentum


def test_update_is_the_plain_formula():
    student = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    teacher = EMA(student, momentum=0.9)
    expected = [parameter.detach().double() for parameter in student.parameters()]
    for momentum in (0.9, 0.5, 1.0, 0.0, 0.996):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn_like(parameter))
        teacher.update(student, momentum)
        pairs = zip(expected, student.parameters(), strict=True)
        expected = [momentum * old + (1 - momentum) * new.detach().double() for old, new in pairs]
        for mine, reference in zip(teacher.parameters(), expected, strict=True):
            torch.testing.assert_close(mine.double(), reference, rtol=1e-5, atol=1e-6)
    before = teacher.module[0].weight.clone()
    teacher.update(student)
    torch.testing.assert_close(teacher.module[0].weight, 0.9 * before + 0.1 * student[0].weight)


def test_statistics_are_its_own_unless_copied():
    student = nn.BatchNorm1d(3)
    teacher = EMA(student)
    student(torch.randn(8, 3) + 5)
    teacher.update(student, 0.0)
    assert not teacher.module.running_mean.any()
    teacher(torch.randn(8, 3) - 5)
    assert (teacher.module.running_mean < 0).all()
    teacher.update(student, 0.0, buffers=True)
    assert torch.equal(teacher.module.running_mean, student.running_mean)
    assert teacher.module.num_batches_tracked == 1


def test_no_gradient_passes():
    student = nn.Sequential(build_encoder("resnet_slim", image_size=32), DINOHead(256, 10, hidden=8, bottleneck=4))
    teacher = EMA(student)
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(x).requires_grad
    assert student[0].model.conv1.weight.requires_grad
    teacher.update(student)
    assert all(parameter.grad_fn is None for parameter in teacher.parameters())


def test_it_can_be_left_out_of_synchronised_batch_norm():
    teacher = EMA(nn.BatchNorm1d(3))
    teacher.sync_batchnorm = False
    assert not teacher.sync_batchnorm


def test_teacher_and_student_must_be_alike():
    with pytest.raises(AssertionError, match="differ"):
        EMA(nn.Linear(2, 2)).update(nn.Linear(2, 2, bias=False))


def test_momentum_rises_along_half_a_cosine():
    assert cosine_momentum(0, 100, 0.99) == 0.99
    assert cosine_momentum(50, 100, 0.99) == pytest.approx(0.995)
    assert cosine_momentum(25, 100, 0.9) == pytest.approx(1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)
    assert cosine_momentum(100, 100, 0.99) == 1.0
    assert cosine_momentum(120, 100, 0.99, end=0.999) == 0.999
