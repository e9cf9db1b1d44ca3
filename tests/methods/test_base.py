"""What methods share."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from conformance.cases import small_method
from selfsight.methods import method_names
from selfsight.methods.base import (
    Method,
    Plan,
    Teacher,
    Wants,
    all_decayed,
    frozen,
    split_by_decay,
    together,
    unit,
    weighted_sum,
)
from selfsight.views import Batch


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


@torch.no_grad()
def test_a_teacher_follows_the_modules_it_was_made_of():
    body, head = nn.Linear(3, 4), nn.Linear(4, 2)
    teacher = Teacher(body, head)
    owner = nn.ModuleDict({"body": body, "teacher": teacher})
    assert sum(parameter is body.weight for parameter in owner.parameters()) == 1
    assert "teacher.module.0.weight" in owner.state_dict() and not any("student" in key for key in owner.state_dict())
    before = teacher.module[1].weight.clone()
    head.weight.add_(1)
    teacher.follow(0.9)
    torch.testing.assert_close(teacher.module[1].weight, before + 0.1)
    assert not teacher.module[1].weight.requires_grad
    alone = Teacher(head)
    assert "weight" in dict(alone.module.named_parameters())
    head.weight.add_(1)
    alone.follow(0.0)
    assert torch.equal(alone.module.weight, head.weight)


class Late(Method):
    """Notes what comes when."""

    wants = Wants(views=1, or_more=True, smallest_batch=1)

    def __init__(self):
        super().__init__(nn.Identity())
        self.weight = nn.Parameter(torch.ones(1))
        self.notes = []

    def forward(self, batch):
        loss = (self.weight * batch.views[0]).sum()
        self.later(self.note, loss, "and")
        return {"loss": loss}

    def note(self, loss, word):
        self.notes.append((word, loss.requires_grad, torch.is_grad_enabled(), self.weight.grad))

    def after_backward(self):
        self.notes.append("edit")


def test_what_comes_later_follows_the_backward_pass_without_gradients():
    method, batch = Late(), Batch([torch.ones(2, 1)], torch.arange(2))
    method(batch)["loss"].backward()
    assert method.notes == []
    method.end_backward()
    assert method.notes == ["edit", ("and", False, False, method.weight.grad)] and method.weight.grad == 2
    method.end_backward()
    assert method.notes[2:] == ["edit"], "once, and not again"
    method(batch)
    method(batch)["loss"].backward()
    method.end_backward()
    assert len(method.notes) == 5, "a forward pass without a backward pass leaves nothing behind"


def test_what_a_method_wants_is_checked_before_forward():
    method = Late()
    method.wants = Wants(views=2, smallest_batch=3, label=True, columns=("age",))
    view, index = torch.ones(3, 1), torch.arange(3)
    known = {"label": index, "age": index.float()}
    method(Batch([view, view], index, known))
    for batch, message in (
        (Batch([view], index, known), r"Late wants 2 views of each image, got 1.*views\("),
        (Batch([view] * 3, index, known), "wants 2 views .*got 3"),
        (Batch([view[:2]] * 2, index[:2], known), "at least 3 and got 2: raise batch_size"),
        (Batch([view, view], index, {"age": index}), "learns from labels .*label="),
        (Batch([view, view], index, {"label": index, "ages": index}), "column 'age'.*did you mean 'ages'.*columns="),
    ):
        with pytest.raises(ValueError, match=message):
            method(batch)


def players(seed=0):
    """A generator and a critic with batch norm, in float64."""
    torch.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)).double()
    critic = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.Linear(8, 1)).double()
    return generator, critic


def test_two_players_share_one_backward_pass():
    """Against two optimisers whose gradients are taken at the same weights, each by a backward pass of its own."""
    softplus = nn.functional.softplus
    noises = torch.randn(20, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    real = torch.randn(16, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    generator, critic = players()
    groups = [{"params": generator.parameters(), "lr": 1e-3}, {"params": critic.parameters(), "lr": 4e-3}]
    both = torch.optim.Adam(groups, betas=(0.5, 0.999))
    for noise in noises:
        fake = generator(noise)
        told = softplus(critic(fake.detach())).mean() + softplus(-critic(real)).mean()
        both.zero_grad()
        (told + softplus(-frozen(critic, fake)).mean()).backward()
        both.step()

    their_generator, their_critic = players()
    first = torch.optim.Adam(their_generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    second = torch.optim.Adam(their_critic.parameters(), lr=4e-3, betas=(0.5, 0.999))
    for noise in noises:
        fake = their_generator(noise)
        judge = copy.deepcopy(their_critic)
        first.zero_grad()
        softplus(-judge(fake)).mean().backward()
        second.zero_grad()
        (softplus(their_critic(fake.detach())).mean() + softplus(-their_critic(real)).mean()).backward()
        first.step()
        second.step()

    for ours, theirs in ((generator, their_generator), (critic, their_critic)):
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-12, atol=1e-14, msg=name)
    assert critic[1].num_batches_tracked == 2 * len(noises), "the frozen pass counts no batch"


def test_gradients_reach_the_inputs_of_a_frozen_module_alone():
    _, critic = players()
    fake = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    before = {name: buffer.clone() for name, buffer in critic.named_buffers()}
    frozen(critic, fake).sum().backward()
    assert fake.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in critic.parameters())
    assert all(torch.equal(buffer, before[name]) for name, buffer in critic.named_buffers())


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
    method.prepare(Plan(samples=10, steps=20, epochs=4, batch=5))
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
