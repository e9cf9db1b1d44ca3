"""Adversarial views: how far, how hard, and that making them leaves no trace in the network."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from conformance.cases import small_method
from selfsight import distributed, losses
from selfsight.methods._dual_norm import DualNorm
from selfsight.nets import as_encoder, load_weights, save_encoder
from selfsight.testing import IMAGES, SIZE, check_learns, small_batches, small_encoder, train


@pytest.fixture
def method():
    return small_method("clae")


@pytest.fixture
def batch(method):
    return small_batches(method, count=1)[0]


def norms_of(module):
    return [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]


def copies_seen_by(method, view):
    """The projections of a view by the adversarial norms, without a trace."""
    other = copy.deepcopy(method)
    with other.adversarial_norms.within(other.encoder), torch.no_grad():
        return other.embed(view)


def test_the_adversarial_view_is_near_and_harder(method, batch):
    view = batch.views[0]
    adversarial = method.attack(view)
    moved = (adversarial - view).abs()
    assert moved.max() <= method.epsilon + 1e-6 and moved.mean() > 0.9 * method.epsilon
    z = copies_seen_by(method, view)
    before, after = (losses.nt_xent(z, copies_seen_by(method, x)) for x in (view, adversarial))
    assert after > before + 0.01


def test_the_held_side_is_seen_by_the_adversarial_norms_too(method, batch):
    view = batch.views[0].clone().requires_grad_()
    held, twin = copies_seen_by(method, view.detach()), copy.deepcopy(method)
    with twin.adversarial_norms.within(twin.encoder):
        loss = losses.nt_xent(held, twin.embed(view), method.temperature)
    (gradient,) = torch.autograd.grad(loss, view)
    adversarial = method.attack(batch.views[0])
    agree = (adversarial - batch.views[0]).sign() == gradient.sign()
    assert agree.float().mean() > 0.999


def test_no_step_no_change(batch):
    method = small_method("clae", epsilon=0.0)
    assert torch.equal(method.attack(batch.views[0]), batch.views[0])


def test_the_attack_leaves_no_trace(method, batch):
    before = copy.deepcopy(method.state_dict())
    method.attack(batch.views[0])
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_the_attack_works_where_gradients_are_off(method, batch):
    expected = method.attack(batch.views[0])
    with torch.no_grad():
        assert torch.equal(method.attack(batch.views[0]), expected)


def test_gradients_are_the_sum_of_the_two_terms(method, batch):
    method.weights["adversarial"] = 0.7
    twin = copy.deepcopy(method)
    method(batch)["loss"].backward()

    za, zb = twin.embed(torch.cat(batch.views)).chunk(2)
    adversarial = twin.attack(batch.views[0])
    with twin.adversarial_norms.within(twin.encoder):
        hard = twin.embed(adversarial)
    first = losses.nt_xent(za, zb, twin.temperature)
    second = losses.nt_xent(za, hard, twin.temperature)
    parameters = list(twin.parameters())
    one, two = (
        torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True) for term in (first, second)
    )
    for parameter, clean, attacked in zip(method.parameters(), one, two, strict=True):
        torch.testing.assert_close(parameter.grad, clean + 0.7 * attacked)
    assert all(gradient.abs().max() == 0 for p, gradient in zip(parameters, one, strict=True) if owned(twin, p))


def owned(method, parameter):
    return any(parameter is other for other in method.adversarial_norms.parameters())


def test_each_set_of_norms_counts_its_own_batch_once(method, batch):
    simple = copy.deepcopy(method)
    simple.embed(torch.cat(batch.views))
    method(batch)
    for norm, clean in zip(norms_of(method.encoder), norms_of(simple.encoder), strict=True):
        assert norm.num_batches_tracked == 1
        assert torch.equal(norm.running_mean, clean.running_mean)
    for norm in method.adversarial_norms.norms:
        assert norm.num_batches_tracked == 1 and norm.momentum == 0.01
        assert norm.running_mean.abs().max() > 0


def test_the_exported_encoder_is_the_clean_one_under_its_own_names(method, batch, tmp_path):
    assert list(method.exported.state_dict()) == list(small_encoder().state_dict())
    train(method, [batch], steps=2)
    save_encoder(method.exported, tmp_path)
    other = small_encoder()
    assert load_weights(other, tmp_path).complete
    clean = norms_of(method.encoder)
    assert all(not torch.equal(a.weight, b.weight) for a, b in zip(clean, method.adversarial_norms.norms, strict=True))
    assert torch.equal(other.eval()(batch.views[0]), method.eval().encoder(batch.views[0]))


def test_a_transformer_has_no_second_set_and_learns():
    method = small_method("clae", encoder="vit")
    assert method.adversarial_norms.names == [] and not list(method.adversarial_norms.parameters())
    check_learns(method)


def test_small_crops_join(method, batch):
    batch.views = [*batch.views, batch.views[1][:, :, : SIZE // 2, : SIZE // 2]]
    assert method(batch)["loss"].isfinite()


def network():
    return as_encoder(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)),
        image_size=8,
    )


def test_the_second_set_is_in_place_inside_and_gone_outside_even_after_an_error():
    net, x = network(), torch.randn(IMAGES, 3, 8, 8)
    dual = DualNorm(net, momentum=1.0)
    names, clean = list(net.state_dict()), net.model[1]
    with pytest.raises(RuntimeError, match="stop"), dual.within(net):
        assert net.model[1] is dual.norms[0] and list(net.state_dict()) == names
        net(x)
        raise RuntimeError("stop")
    assert net.model[1] is clean and clean.num_batches_tracked == 0
    torch.testing.assert_close(dual.norms[0].running_mean, net.model[0](x).mean((0, 2, 3)))


def test_two_sets_survive_synchronisation_and_the_state_both():
    torch.manual_seed(0)
    net, x = network(), torch.randn(IMAGES, 3, 8, 8)
    both = nn.ModuleDict({"net": net, "dual": DualNorm(net)})
    nn.init.constant_(both["dual"].norms[0].weight, 2.0)
    plain = outputs(both, x)
    state = both.state_dict()

    fresh = network()
    other = distributed.convert_sync_batchnorm(nn.ModuleDict({"net": fresh, "dual": DualNorm(fresh)}))
    assert list(other.state_dict()) == list(state)
    other.load_state_dict(state)
    assert isinstance(other["dual"].norms[0], distributed.SyncBatchNorm)
    assert other["dual"].norms[0].momentum == 0.01
    for ours, theirs in zip(outputs(other, x), plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(*plain)


def outputs(both, x):
    return [copy_of(both, x, second) for second in (False, True)]


def copy_of(both, x, second):
    both = copy.deepcopy(both)
    with both["dual"].within(both["net"]) if second else nullcontext():
        return both["net"](x)
