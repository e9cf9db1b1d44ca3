"""The scattering transform against kymatio, and the properties of its filters."""

from __future__ import annotations

import pytest
import torch
from kymatio import Scattering2D

from selfsight.targets import Scattering
from selfsight.targets.scattering import filter_bank

# kymatio writes pi as 3.1415: every smoothing raises its answer by 2.95e-5.
OF_KYMATIO = 1e-4


@pytest.mark.parametrize(
    ("size", "J", "L"), [((32, 32), 2, 8), ((96, 64), 3, 8), ((30, 45), 2, 6), ((33, 33), 1, 8)], ids=str
)
def test_equals_kymatio(size, J, L):
    images = torch.randn(2, 3, *size)
    expected = Scattering2D(J, size, L=L, frontend="torch")(images)
    ours = Scattering(J, L)(images)
    assert ours.shape == expected.shape == (2, 3, 1 + J * L + L**2 * J * (J - 1) // 2, size[0] // 2**J, size[1] // 2**J)
    for order in (slice(0, 1), slice(1, 1 + J * L), slice(1 + J * L, None)):
        difference = (ours[:, :, order] - expected[:, :, order]).norm()
        assert difference <= OF_KYMATIO * expected[:, :, order].norm()


@pytest.mark.parametrize(("J", "bound"), [(2, 1.01), (3, 1.03), (4, 1.06)])
def test_filters_never_add_energy(J, bound):
    bank = filter_bank(64, 64, J, 8, torch.device("cpu"))
    wavelets = sum((bank.wavelets[j, 0].real * 4**j).square().sum(0) for j in range(J))
    opposite = wavelets.flip(0, 1).roll((1, 1), (0, 1))
    frequency = torch.fft.fftfreq(len(wavelets), dtype=torch.float64) * 2 * torch.pi
    smoothing = (-((0.8 * 2 ** (J - 1)) ** 2) * (frequency[:, None] ** 2 + frequency**2)).exp()
    total = smoothing + (wavelets + opposite) / 2
    low = (frequency[:, None] ** 2 + frequency**2).sqrt() < 0.4 * 2 * torch.pi
    assert total.max() <= bound
    assert total[low].min() >= 0.5


def test_wavelets_have_no_mean_and_averages_mass_one():
    bank = filter_bank(32, 32, 2, 8, torch.device("cpu"))
    for spectra in bank.wavelets.values():
        assert spectra[:, 0, 0].abs().max() < 1e-6
    for rows, columns in bank.averages.values():
        torch.testing.assert_close(rows.sum(1), torch.ones(8))
        torch.testing.assert_close(columns.sum(1), torch.ones(8))


def test_a_constant_image_scatters_into_its_average_only():
    out = Scattering()(torch.full((1, 1, 32, 32), 1.0))[0, 0]
    torch.testing.assert_close(out[0], torch.ones(8, 8))
    assert out[1:].abs().max() < 1e-6


def energies(images, J):
    """Share of the images' energy in each order."""
    out = Scattering(J)(images)
    shares = 4**J * out.square().sum((0, 1, 3, 4)) / images.square().sum()
    return shares[0].item(), shares[1 : 1 + 8 * J].sum().item(), shares[1 + 8 * J :].sum().item()


def test_orders_share_the_energy_and_decay():
    zeroth, first, second = energies(torch.randn(16, 1, 64, 64), 2)
    assert zeroth + first + second < 1
    assert second < 0.1 * first


def test_a_shift_by_a_pixel_changes_little_and_less_with_each_scale():
    images = torch.randn(4, 1, 128, 128)
    changes = []
    for J in (2, 3, 4):
        scattered, shifted = (Scattering(J)(x) for x in (images, images.roll(1, -1)))
        changes.append(((scattered - shifted).norm() / scattered.norm()).item())
    assert changes[0] < 0.17
    assert changes[1] < 0.6 * changes[0] and changes[2] < 0.6 * changes[1]


def test_batches_and_half_precision_change_nothing():
    images = torch.randn(5, 3, 16, 24).bfloat16()
    expected = Scattering()(images.float())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(Scattering()(images), expected)
    one_by_one = torch.cat([Scattering()(image[None].float()) for image in images])
    torch.testing.assert_close(one_by_one, expected)


def test_gradient_flows_to_the_image_even_after_inference_mode():
    with torch.inference_mode():
        Scattering()(torch.randn(1, 1, 20, 12))
    for image in (torch.randn(1, 1, 20, 12), torch.zeros(1, 1, 20, 12)):
        image.requires_grad_()
        Scattering()(image).sum().backward()
        assert image.grad is not None and image.grad.isfinite().all() and image.grad.abs().max() > 0


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="a side needs 9 for J=3"):
        Scattering(3)(torch.zeros(1, 1, 8, 32))
    assert Scattering(3)(torch.zeros(1, 1, 9, 32)).shape == (1, 1, 217, 1, 4)
