"""What methods share."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from conformance.battery import small_method
from selfsight.methods import method_names
from selfsight.methods.base import Method, Teacher, all_decayed, split_by_decay, together, unit, weighted_sum


def test_together_joins_runs_of_one_size_and_keeps_the_order():
    sizes = []

    def mean(x):
        sizes.append(tuple(x.shape))
        return x.mean((1, 2, 3), keepdim=True)[..., 0, 0]

    views = [torch.full((2, 1, side, side), float(value)) for value, side in enumerate([4, 4, 3, 3, 3])]
    outputs = together(mean, views)
    assert sizes == [(4, 1, 4, 4), (6, 1, 3, 3)]
    assert [output.flatten().tolist() for output in outputs] == [[float(value)] * 2 for value in range(5)]


def test_a_teacher_keeps_still_in_training_mode():
    student = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, drop_path_rate=0.5, drop_rate=0.5)
    student.drop_rate = 0.5
    x = torch.randn(4, 3, 32, 32)
    teacher = Teacher(student.train()).train()
    assert torch.equal(teacher(x), teacher(x))
    assert torch.equal(teacher(x), student.eval()(x))
    assert not torch.equal(student.train()(x), student(x)), "the student keeps its drop path"


def test_a_teacher_keeps_statistics_of_its_own():
    student = nn.BatchNorm1d(2)
    teacher = Teacher(student)
    teacher(torch.randn(8, 2) + 5)
    with torch.no_grad():
        student.weight.fill_(3)
    teacher.update(student, 0.5)
    assert teacher.module.running_mean.mean() > 0.3 and student.running_mean.abs().sum() == 0
    assert teacher.module.weight.tolist() == [2.0, 2.0]


def test_parameter_groups():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    module[2].requires_grad_(False)
    weights, others = split_by_decay(module, constant_lr=True)
    assert [p.ndim for p in weights["params"]] == [2] and [p.ndim for p in others["params"]] == [1, 1, 1]
    assert others["weight_decay"] == 0 and others["adapt"] is False and weights["constant_lr"]
    (everything,) = all_decayed(module)
    assert len(everything["params"]) == 4 and "weight_decay" not in everything


def test_weighted_sum_logs_terms_without_weights():
    term = torch.tensor(2.0, requires_grad=True)
    outcome = weighted_sum({"a": term, "b": 2 * term}, {"a": 1.0, "b": 10.0})
    assert outcome["loss"].item() == 42 and outcome["b"].item() == 4
    assert outcome["loss"].requires_grad and not outcome["b"].requires_grad


def test_unit_is_exact_under_autocast():
    z = torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(unit(z.bfloat16()).norm(dim=1), torch.ones(4))


def test_epochs_come_in_fractions():
    method = Method(nn.Identity())
    method.prepare(samples=10, steps=20, epochs=4, batch=5, metadata={})
    method.step = 7
    assert method.epoch == 1.4


DECAY_ALL = {
    "align_uniform",
    "clae",
    "debiased",
    "eps_infonce",
    "eps_supcon",
    "eps_supinfonce",
    "hard_negatives",
    "mean_shift",
    "moco_v1",
    "moco_v2",
    "moco_v3",
    "mv_mr",
    "npid",
    "regression_exp",
    "regression_thr",
    "rotation",
    "simsiam",
    "supcon",
    "swav",
    "y_aware",
}
"""Methods whose authors hand all parameters to one weight decay."""


@pytest.mark.parametrize("name", method_names())
def test_biases_and_norms_are_decayed_where_the_authors_decay_all(name):
    method = small_method(name)
    groups = method.param_groups()
    trained = {id(parameter) for parameter in method.parameters() if parameter.requires_grad}
    assert {id(parameter) for group in groups for parameter in group["params"]} == trained
    kept = [parameter for group in groups if "weight_decay" in group for parameter in group["params"]]
    if name in DECAY_ALL:
        assert not kept
    else:
        assert kept and all(parameter.ndim <= 1 for parameter in kept)
