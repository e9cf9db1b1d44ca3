import numpy as np
import pytest
import torch
from torch import nn

from selfsight.engine.optimisers import (
    LARS,
    build_optimiser,
    clip_gradients,
    scaled_rate,
    set_schedule,
    trust_ratios,
)
from selfsight.methods.base import Optimisation, split_by_decay


def reference_lars(weights, gradients, steps, lr, momentum, decay, eta, adapt):
    """LARS tensor by tensor in float64, as the formula reads."""
    weights = [w.astype(np.float64) for w in weights]
    momenta = [np.zeros_like(w) for w in weights]
    for step in range(steps):
        for i, p in enumerate(weights):
            g = gradients[step][i].astype(np.float64)
            if adapt[i]:
                g = g + decay * p
                norms = np.linalg.norm(p), np.linalg.norm(g)
                g = g * (eta * norms[0] / norms[1] if min(norms) > 0 else 1)
            momenta[i] = momentum * momenta[i] + g
            weights[i] = p - lr * momenta[i]
    return weights


def test_lars_is_the_formula():
    generator = np.random.default_rng(0)
    shapes, adapt = [(4, 3), (5, 2, 3, 3), (6,), (3, 3)], [True, True, False, True]
    weights = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    weights[3][:] = 0  # a norm of zero: the plain gradient
    gradients = [[generator.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(4)]
    parameters = [nn.Parameter(torch.tensor(w)) for w in weights]
    groups = [
        {"params": [p for p, a in zip(parameters, adapt, strict=True) if a]},
        {"params": [parameters[2]], "adapt": False},
    ]
    optimiser = LARS(groups, lr=0.3, momentum=0.9, weight_decay=0.05, eta=0.02)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimiser.step()
    expected = reference_lars(weights, gradients, 4, 0.3, 0.9, 0.05, 0.02, adapt)
    for parameter, weight in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-5, atol=1e-6)


def test_lars_leaves_parameters_without_gradient_alone_and_answers_the_closure():
    still, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimiser = LARS([still, moved], lr=1.0)

    def closure():
        loss = moved.sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 4
    assert torch.equal(still, torch.ones(2, 2))
    assert not torch.equal(moved, torch.ones(2, 2))


def test_trust_ratio_is_one_where_a_norm_is_zero():
    ratios = trust_ratios([torch.zeros(3), torch.ones(4)], [torch.ones(3), torch.zeros(4)], 0.001)
    assert [ratio.item() for ratio in ratios] == [1, 1]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lars"])
def test_every_optimiser_excludes_biases_and_norms(name):
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimiser = build_optimiser(split_by_decay(net), Optimisation(optimizer=name, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays == {id(p): 0.1 if p.ndim > 1 else 0.0 for p in net.parameters()}
    assert type(optimiser).__name__.lower() == name


@pytest.mark.parametrize("nesterov", [False, True])
def test_fused_sgd_steps_a_group_some_of_which_is_held_still(nesterov):
    def weights_after(build):
        generator = torch.Generator().manual_seed(0)
        held, freed, stopped, _ = parameters = [nn.Parameter(torch.ones(2, 3)) for _ in range(4)]
        optimiser = build(parameters)
        for step in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn(2, 3, generator=generator)
            held.grad = None
            if step < 2:
                freed.grad = None  # as DINO's last layer at first
            if step == 3:
                stopped.grad = None  # and again later
            optimiser.step()
        return parameters

    settings = {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.9, "nesterov": nesterov}
    ours = weights_after(lambda p: build_optimiser([{"params": p}], Optimisation(optimizer="sgd", **settings)))
    theirs = weights_after(lambda p: torch.optim.SGD(p, fused=False, **settings))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(ours, theirs, strict=True))


def test_sgd_has_the_usual_momentum_and_looks_not_ahead_unless_asked():
    (group,) = build_optimiser([{"params": [nn.Parameter(torch.ones(1))]}], Optimisation(optimizer="sgd")).param_groups
    assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.9, False, 0)


def test_unknown_optimiser():
    with pytest.raises(ValueError, match=r"unknown optimizer 'adamm': choose from adamw"):
        build_optimiser([{"params": [nn.Parameter(torch.ones(1))]}], Optimisation(optimizer="adamm"))


def test_rate_grows_with_the_batch_unless_it_is_absolute():
    assert scaled_rate(Optimisation(lr=0.3, reference_batch=256), 1024) == pytest.approx(1.2)
    assert scaled_rate(Optimisation(lr=0.3, reference_batch=None), 1024) == 0.3


def test_schedule_reaches_every_group_by_its_own_rules():
    plain, constant, scaled = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    optimisation = Optimisation(optimizer="sgd", lr=1.0, weight_decay=0.04, final_weight_decay=0.4)
    groups = [
        {"params": [plain]},
        {"params": [constant], "constant_lr": True, "weight_decay": 0.0},
        {"params": [scaled], "lr_scale": 10.0},
    ]
    optimiser = build_optimiser(groups, optimisation)
    rate = set_schedule(optimiser, optimisation, peak=2.0, step=50, steps=100, warmup=0)
    assert rate == pytest.approx(1.0)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([1.0, 2.0, 10.0])
    assert [group["weight_decay"] for group in optimiser.param_groups] == pytest.approx([0.22, 0.0, 0.22])


def net_with_gradients():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[0].weight.grad = torch.tensor([[3.0, 0], [0, 4]])
    net[1].weight.grad = torch.tensor([[0.3, 0], [0, 0.4]])
    return net


def test_clip_over_all_parameters():
    net = net_with_gradients()
    clip_gradients(net, 1.0)
    grads = [layer.weight.grad for layer in net[:2]]
    assert torch.stack([g.norm() for g in grads]).norm().item() == pytest.approx(1, abs=1e-5)
    assert (grads[0].norm() / grads[1].norm()).item() == pytest.approx(10, rel=1e-4)


def test_clip_each_parameter_by_itself():
    net = net_with_gradients()
    clip_gradients(net, 1.0, "tensor")
    assert [layer.weight.grad.norm().item() for layer in net[:2]] == pytest.approx([1, 0.5], abs=1e-5)


def test_clip_each_part_by_itself():
    """A part is a child of the method, and what the method holds directly is one more."""
    method = nn.Module()
    method.encoder, method.head = net_with_gradients(), net_with_gradients()
    method.beta = nn.Parameter(torch.zeros(()))
    method.beta.grad = torch.tensor(7.0)
    clip_gradients(method, 1.0, "part")
    for part in (method.encoder, method.head):
        norms = torch.stack([p.grad.norm() for p in part.parameters() if p.grad is not None])
        assert norms.norm().item() == pytest.approx(1, abs=1e-5)
    assert method.beta.grad.item() == pytest.approx(1, abs=1e-5)


def test_a_group_may_have_betas_of_its_own():
    slow, fast = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    groups = [{"params": [slow]}, {"params": [fast], "betas": (0.5, 0.9)}]
    optimiser = build_optimiser(groups, Optimisation(optimizer="adam", lr=0.1, weight_decay=0.0))
    assert [group["betas"] for group in optimiser.param_groups] == [(0.9, 0.999), (0.5, 0.9)]
    alone = torch.optim.Adam([other := nn.Parameter(torch.zeros(2))], lr=0.1, betas=(0.5, 0.9))
    for gradient in (1.0, -2.0):
        for parameter in (slow, fast, other):
            parameter.grad = torch.full((2,), gradient)
        optimiser.step()
        alone.step()
    torch.testing.assert_close(fast, other)
    assert not torch.allclose(slow, other)


def test_an_unknown_key_of_a_group_is_named():
    with pytest.raises(ValueError, match="no 'lr_scal': did you mean 'lr_scale'"):
        build_optimiser([{"params": [nn.Parameter(torch.zeros(2))], "lr_scal": 2.0}], Optimisation())
