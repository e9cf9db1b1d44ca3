"""What holds for every loss: exact gradients, exact sharding, and float32 whatever the autocast."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from selfsight import losses
from selfsight.distributed import gather
from selfsight.losses import blocks
from selfsight.methods import find_method

N, D = 8, 6


@dataclass
class Case:
    """A loss of tensors with a row an image; `learned` of them, from the first, receive gradients."""

    loss: Callable[..., Tensor]
    rows: list[Tensor]
    learned: int


def swav(*scores):
    return losses.swapped_prediction(scores[:4], [losses.sinkhorn(view) for view in scores[4:]])


def dino(*logits):
    return losses.dino(logits[:3], logits[3:], torch.linspace(-1, 1, D))


def info_nce(q, k):
    queue = F.normalize(torch.eye(D)[:4] + 0.5, dim=1)
    return losses.info_nce(q, k, queue.double() if q.dtype == torch.float64 else queue)


def to_targets(q, k):
    return losses.cross_view(q, k.detach())


def cautious_hard_negatives(za, zb):
    """With a prior so large that the floor holds for some anchors."""
    return losses.hard_negatives(za, zb, prior=0.6, beta=0.5)


def first_power_alignment(za, zb):
    return losses.alignment(za, zb, alpha=1.0)


def bank(like):
    rows = F.normalize(torch.eye(D)[:5] + 0.3, dim=1)
    return rows.double() if like.dtype == torch.float64 else rows


def instance_softmax(v, index):
    return losses.instance_softmax(v, index, bank(v), 0.3)


def instance_nce(v, positives):
    return losses.instance_nce(v, positives, bank(v)[:4], 9, 3.0, 0.3)


def patch_nce(predictions, patches):
    return losses.patch_nce(predictions, patches, [2, 0, 1, 2], scale=0.5)


def vicreg(za, zb):
    terms = losses.vicreg(za, zb, margin=1.5)
    return 25 * terms["invariance"] + 25 * terms["variance"] + terms["covariance"]


def supcon(za, zb, zc, labels):
    return losses.supcon([za, zb, zc], labels)


def of_three(loss, **options):
    """A loss of three views and what is known about the images."""
    return lambda za, zb, zc, known: loss([za, zb, zc], known, **options)


def fair_kl(za, zb, labels, bias):
    return losses.fair_kl([za, zb], labels, bias)


def fair_moments(za, zb, labels, bias):
    return losses.fair_kl([za, zb], labels, bias, "moments")


def distance_correlation(x, y):
    return losses.distance_correlation(x, y)


def unbiased_distance_correlation(x, y):
    return losses.distance_correlation(x, y, estimator="unbiased")


def triplet(mining, smooth=False, labelled=True):
    def loss(za, zb, labels):
        return losses.triplet([za, zb], labels if labelled else None, 0.4, mining, smooth)

    return loss


def margin(za, zb, beta, labels):
    """Of rows so near each other that all negatives weigh the same, since no gradient goes into the weights."""
    boundary = gather(beta if beta.dtype == torch.float64 else beta.float()).mean()
    return losses.margin([za, zb], labels, boundary, margin=0.05, regulariser=0.1)


def soft_nearest_neighbour(za, zb, labels):
    return losses.soft_nearest_neighbour([za, zb], labels)


def raw_reconstruction(prediction, target, masked):
    return losses.masked_reconstruction(prediction, target, masked, normalise=False)


def cross_view_with_labels(anchors, keys, labels):
    return losses.cross_view(anchors, keys, labels=labels)


def make_cases(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    def pair(width=D):
        first = draw(N, width)
        return [first, first + 0.5 * draw(N, width)]

    labels = torch.tensor([0, 1, -1, 0, 2, -1, 1, 0])
    three = [*pair(), draw(N, D)]
    classes, bias = torch.tensor([0, 1, -1, 0, 1, 1, 1, 0]), torch.tensor([0, 1, 1, 1, 0, 1, 0, -1])
    ages = torch.tensor([20, 24, torch.nan, 31, 21, 20, 45, 28], dtype=dtype)
    masked = torch.rand(N, 5, generator=generator) < torch.linspace(0.1, 0.9, N)[:, None]
    wide = [draw(N, D), draw(N, 2, 3)]
    wide[1][:, 0] += wide[0][:, :3]
    return {
        "nt_xent": Case(losses.nt_xent, pair(), 2),
        "info_nce": Case(info_nce, pair(), 1),
        "cross_view": Case(losses.cross_view, pair(), 2),
        "cross_view_with_labels": Case(cross_view_with_labels, [*pair(), labels], 2),
        "to_targets": Case(to_targets, pair(), 1),
        "dcl": Case(losses.dcl, pair(), 2),
        "debiased": Case(losses.debiased, pair(), 2),
        "hard_negatives": Case(losses.hard_negatives, pair(), 2),
        "cautious_hard_negatives": Case(cautious_hard_negatives, pair(), 2),
        "alignment": Case(losses.alignment, pair(), 2),
        "first_power_alignment": Case(first_power_alignment, pair(), 2),
        "uniformity": Case(losses.uniformity, [draw(N, D)], 1),
        "supcon": Case(supcon, [*pair(), draw(N, D), labels], 3),
        "triplet": Case(triplet("all"), [*pair(), labels], 2),
        "semi_hard_triplet": Case(triplet("semi_hard", smooth=True), [*pair(), labels], 2),
        "hard_triplet": Case(triplet("hard"), [*pair(), labels], 2),
        "triplet_of_images": Case(triplet("semi_hard", labelled=False), [*pair(), labels], 2),
        "margin": Case(margin, [*(15 + view for view in pair()), 0.1 + 0.01 * draw(N, 1), labels], 3),
        "jensen_shannon": Case(losses.jensen_shannon, [draw(N, 3, D), draw(N, D)], 2),
        "donsker_varadhan": Case(losses.donsker_varadhan, [draw(N, 3, D), draw(N, D)], 2),
        "local_info_nce": Case(losses.local_info_nce, [draw(N, 3, D), draw(N, D)], 2),
        "n_pair": Case(losses.n_pair, [*pair(), labels], 2),
        "soft_nearest_neighbour": Case(soft_nearest_neighbour, [*pair(), labels], 2),
        "eps_infonce": Case(losses.eps_infonce, pair(), 2),
        "eps_supinfonce": Case(of_three(losses.eps_supinfonce), [*three, labels], 3),
        "eps_supcon": Case(of_three(losses.eps_supcon), [*three, labels], 3),
        "y_aware": Case(of_three(losses.y_aware, bandwidth=4.0), [*three, ages], 3),
        "regression_thr": Case(of_three(losses.regression_thr, bandwidth=4.0), [*three, ages], 3),
        "regression_exp": Case(of_three(losses.regression_exp, bandwidth=4.0), [*three, ages], 3),
        "fair_kl": Case(fair_kl, [*pair(), classes, bias], 2),
        "fair_moments": Case(fair_moments, [*pair(), classes, bias], 2),
        "instance_softmax": Case(instance_softmax, [draw(N, D), torch.arange(N) % 5], 1),
        "instance_nce": Case(instance_nce, [draw(N, D), F.normalize(draw(N, D), dim=1)], 1),
        "patch_nce": Case(patch_nce, [draw(N, 4, D), draw(N, 3, D)], 2),
        "negative_cosine": Case(losses.negative_cosine, pair(), 1),
        "byol": Case(losses.byol, pair(), 1),
        "mean_shift": Case(losses.mean_shift, [draw(N, D), draw(N, 3, D)], 1),
        "dino": Case(dino, [draw(N, D) for _ in range(5)], 3),
        "swav": Case(swav, [F.normalize(draw(N, D), dim=1) for _ in range(6)], 4),
        "barlow_twins": Case(losses.barlow_twins, pair(), 2),
        "wide_barlow_twins": Case(losses.barlow_twins, pair(width=12), 2),
        "vicreg": Case(vicreg, pair(), 2),
        "wide_vicreg": Case(vicreg, pair(width=12), 2),
        "variance_hinge": Case(losses.variance_hinge, [draw(N, D)], 1),
        "covariance": Case(losses.covariance, [draw(N, D)], 1),
        "distance_correlation": Case(distance_correlation, wide, 2),
        "unbiased_distance_correlation": Case(unbiased_distance_correlation, wide, 2),
        "masked_reconstruction": Case(losses.masked_reconstruction, [draw(N, 5, 12), draw(N, 5, 12), masked], 1),
        "raw_reconstruction": Case(raw_reconstruction, [draw(N, 5, 12), draw(N, 5, 12), masked], 2),
    }


NAMES = list(make_cases())


def value_and_gradients(case, rows):
    leaves = [row.clone().requires_grad_() if row.is_floating_point() else row for row in rows]
    value = case.loss(*leaves)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(value, wanted, allow_unused=True)
    return value.detach(), gradients


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    case = make_cases()[name]
    fixed = case.rows[case.learned :]
    learned = [row.requires_grad_() for row in case.rows[: case.learned]]
    assert torch.autograd.gradcheck(lambda *rows: case.loss(*rows, *fixed), learned)


@pytest.mark.parametrize("name", NAMES)
def test_targets_receive_no_gradient(name):
    case = make_cases()[name]
    gradients = value_and_gradients(case, case.rows)[1]
    assert all(gradient.abs().max() > 0 for gradient in gradients[: case.learned])
    if name != "masked_reconstruction":  # whose targets are pixels
        assert all(gradient is None for gradient in gradients[case.learned :])


@pytest.mark.parametrize("pairs_at_once", [1, 30])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_change_nothing(monkeypatch, name, pairs_at_once):
    case = make_cases()[name]
    value, gradients = value_and_gradients(case, case.rows)
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", pairs_at_once)
    in_blocks, its_gradients = value_and_gradients(case, case.rows)
    torch.testing.assert_close(in_blocks, value)
    for ours, whole in zip(its_gradients[: case.learned], gradients, strict=False):
        torch.testing.assert_close(ours, whole)


def on_shard(name, pairs_at_once):
    case = make_cases()[name]
    half = N // 2
    mine = [row[dist.get_rank() * half : (dist.get_rank() + 1) * half] for row in case.rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(blocks.LARGEST_BLOCK, "cpu", pairs_at_once)
        return value_and_gradients(case, mine)


@pytest.mark.parametrize("pairs_at_once", [30, 2**21])
@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_give_the_global_loss_and_its_gradients(gloo_pool, name, pairs_at_once):
    case = make_cases()[name]
    value, gradients = value_and_gradients(case, case.rows)
    (first, first_gradients), (second, second_gradients) = gloo_pool.run(on_shard, name, pairs_at_once)
    torch.testing.assert_close((first + second) / 2, value)
    for number, gradient in enumerate(gradients[: case.learned]):
        sharded = torch.cat([first_gradients[number], second_gradients[number]]) / 2
        torch.testing.assert_close(sharded, gradient)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    case = make_cases(torch.float32)[name]
    half = [row.bfloat16() if row.is_floating_point() else row for row in case.rows]
    with torch.autocast("cpu", torch.bfloat16):
        value, _ = value_and_gradients(case, case.rows)
        from_half, gradients = value_and_gradients(case, half)
    assert torch.equal(value, value_and_gradients(case, case.rows)[0])
    widened = [row.float() if row.is_floating_point() else row for row in half]
    assert from_half.dtype == torch.float32
    assert torch.equal(from_half, value_and_gradients(case, widened)[0])
    assert all(gradient.dtype == torch.bfloat16 and gradient.isfinite().all() for gradient in gradients[: case.learned])


@pytest.mark.parametrize("name", NAMES)
def test_a_collapsed_net_gives_finite_values_and_gradients(name):
    case = make_cases(torch.float32)[name]
    same = [torch.full_like(row, 0.5) if row.is_floating_point() else row for row in case.rows]
    value, gradients = value_and_gradients(case, same)
    assert value.isfinite()
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


# Losses and what they share with the method that takes them, whose page states its paper's values.
SHARED = [
    ("alignment", "align_uniform", "alpha"),
    ("uniformity", "align_uniform", "t"),
    ("barlow_twins", "barlow_twins", "off_diagonal"),
    ("patch_nce", "cpc_v2", "scale"),
    ("dcl", "dcl", "temperature"),
    ("dcl_weights", "dclw", "sigma"),
    ("debiased", "debiased", "temperature prior"),
    ("eps_infonce", "eps_infonce", "temperature epsilon"),
    ("eps_supcon", "eps_supcon", "temperature epsilon"),
    ("eps_supinfonce", "eps_supinfonce", "temperature epsilon"),
    ("hard_negatives", "hard_negatives", "temperature prior beta"),
    ("triplet", "metric_learning", "margin mining smooth"),
    ("margin", "metric_learning", "beta margin regulariser"),
    ("n_pair", "metric_learning", "penalty"),
    ("info_nce", "moco_v2", "temperature"),
    ("distance_correlation", "mv_mr", "estimator"),
    ("instance_nce", "npid", "temperature"),
    ("instance_softmax", "npid", "temperature"),
    ("log_partition", "npid", "temperature"),
    ("regression_exp", "regression_exp", "temperature kernel"),
    ("regression_thr", "regression_thr", "temperature kernel"),
    ("y_aware", "y_aware", "temperature kernel"),
    ("supcon", "supcon", "temperature"),
    ("swapped_prediction", "swav", "temperature"),
    ("sinkhorn", "swav", "epsilon iterations"),
]


@pytest.mark.parametrize(("loss", "method", "names"), SHARED, ids=lambda part: part.replace(" ", "-"))
def test_by_itself_a_loss_has_the_defaults_of_its_method(loss, method, names):
    by_itself, within = (inspect.signature(one).parameters for one in (getattr(losses, loss), find_method(method)))
    for name in names.split():
        assert by_itself[name].default == within[name].default, name
