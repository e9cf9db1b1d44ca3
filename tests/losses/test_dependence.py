"""Distance correlation against the package dcor."""

from __future__ import annotations

import math

import dcor
import numpy as np
import pytest
import torch

from selfsight import losses

TINY = 1e-20


def related(batch=40, noise=1.0):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(batch, 5))
    y = np.concatenate([x[:, :2] ** 2, generator.normal(size=(batch, 6))], 1) + noise * generator.normal(
        size=(batch, 8)
    )
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize("noise", [0, 1, 10])
def test_biased_equals_dcor(noise):
    x, y = related(noise=noise)
    expected = dcor.distance_correlation(x.numpy(), y.numpy())
    assert losses.distance_correlation(x, y, floor=TINY).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("noise", [0, 1, 3])
def test_unbiased_equals_dcor_with_the_sign_under_the_root(noise):
    x, y = related(noise=noise)
    square = dcor.u_distance_correlation_sqr(x.numpy(), y.numpy())
    assert abs(square) > 1e-4
    ours = losses.distance_correlation(x, y, "unbiased", floor=TINY).item()
    assert ours == pytest.approx(math.copysign(abs(square) ** 0.5, square), rel=1e-7)


def test_floor_enters_the_diagonal_too():
    x, y = (z.numpy() for z in related())

    def centred(z):
        a = np.sqrt(np.maximum(((z[:, None] - z) ** 2).sum(-1), 0.5))
        return a - a.mean(0) - a.mean(1)[:, None] + a.mean()

    a, b = centred(x), centred(y)
    expected = np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))
    ours = losses.distance_correlation(torch.from_numpy(x), torch.from_numpy(y), floor=0.5)
    assert ours.item() == pytest.approx(expected)


@pytest.mark.parametrize("offset", [0, 100])
def test_single_precision_suffices_for_wide_features_far_from_zero(offset):
    x, y = torch.randn(2, 256, 3072, dtype=torch.float64) + offset
    for estimator in ("biased", "unbiased"):
        exact = losses.distance_correlation(x, y, estimator)
        torch.testing.assert_close(
            losses.distance_correlation(x.float(), y.float(), estimator).double(), exact, rtol=1e-4, atol=2e-3
        )


def test_what_the_estimators_say_of_independent_wide_features():
    x, y = torch.randn(2, 128, 2048, generator=torch.Generator().manual_seed(0))
    assert losses.distance_correlation(x, y) > 0.95
    assert abs(losses.distance_correlation(x, y, "unbiased")) < 0.3


def test_the_same_features_turned_and_scaled_depend_entirely():
    x = torch.randn(32, 6, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    for estimator in ("biased", "unbiased"):
        value = losses.distance_correlation(x, 3 * x @ turn + 1, estimator, floor=TINY)
        assert value.item() == pytest.approx(1, abs=1e-8)


def test_slope_stays_finite_where_nothing_depends():
    x, y = torch.randn(2, 64, 4, dtype=torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.distance_correlation(x, torch.ones_like(y)), x)
    assert gradient.isfinite().all()


def test_errors_name_the_fix():
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="'biased' or 'unbiased'"):
        losses.distance_correlation(x, x, estimator="u")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 and 2 rows"):
        losses.distance_correlation(x, x[:2])
    with pytest.raises(ValueError, match="at least 4"):
        losses.distance_correlation(x, x, "unbiased")
