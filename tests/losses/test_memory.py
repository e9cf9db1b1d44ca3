"""Losses against a bank and against patches, beside their formulas written out in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsight import losses
from selfsight.losses import blocks


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64)


def unit(*shape):
    return F.normalize(draw(*shape), dim=-1)


def test_instance_softmax_is_its_formula():
    v, bank, index = draw(4, 5), unit(7, 5), torch.tensor([3, 0, 6, 3])
    total = 0.0
    for embedding, own in zip(F.normalize(v, dim=1).numpy(), index.tolist(), strict=True):
        odds = np.exp(bank.numpy() @ embedding / 0.2)
        total -= np.log(odds[own] / odds.sum())
    assert losses.instance_softmax(v, index, bank, 0.2).item() == pytest.approx(total / 4)


def test_instance_softmax_of_embeddings_that_say_nothing():
    same = F.normalize(torch.ones(9, 4), dim=1)
    assert losses.instance_softmax(same[:3], torch.arange(3), same).item() == pytest.approx(math.log(9), abs=1e-5)
    bank, v = torch.eye(64)[:48], torch.eye(64)[48:]
    assert losses.instance_softmax(v, torch.arange(16), bank).item() == pytest.approx(math.log(48), abs=1e-5)
    random = losses.instance_softmax(unit(200, 512), torch.arange(200), unit(1000, 512), 1.0).item()
    assert random == pytest.approx(math.log(1000), abs=0.02)


def test_instance_nce_is_its_formula():
    v, positives, noise = draw(4, 5), unit(4, 5), unit(6, 5)
    samples, partition, temperature = 50, 30.0, 0.3
    total = 0.0
    for embedding, own in zip(F.normalize(v, dim=1).numpy(), positives.numpy(), strict=True):

        def h(memory, embedding=embedding):
            p = np.exp(memory @ embedding / temperature) / partition
            return p / (p + len(noise) / samples)

        total -= np.log(h(own)) + sum(np.log(1 - h(memory)) for memory in noise.numpy())
    value = losses.instance_nce(v, positives, noise, samples, math.log(partition), temperature)
    assert value.item() == pytest.approx(total / 4)


def test_instance_nce_of_equal_embeddings():
    same = F.normalize(torch.ones(9, 4), dim=1)
    partition = losses.log_partition(same[:3], same, 100)
    assert partition.item() == pytest.approx(math.log(100) + 1 / 0.07, abs=1e-4)
    value = losses.instance_nce(same[:3], same[:3], same, 100, partition).item()
    assert value == pytest.approx(math.log(10) + 9 * math.log(1 + 1 / 9), abs=1e-4)


def test_the_partition_is_that_of_the_whole_softmax_when_the_noise_is_the_bank():
    v, bank = unit(5, 6), unit(20, 6)
    odds = np.exp(v.numpy() @ bank.numpy().T / 0.07)
    assert losses.log_partition(v, bank, 20).item() == pytest.approx(np.log(odds.sum(1).mean()))


def test_the_partition_of_a_low_temperature_does_not_overflow():
    same = F.normalize(torch.ones(3, 4), dim=1)
    assert losses.log_partition(same, same, 10, temperature=0.005).item() == pytest.approx(200 + math.log(10), rel=1e-4)


def test_patch_nce_is_its_formula():
    predictions, patches, places = draw(3, 4, 5), draw(3, 6, 5), [1, 5, 0, 1]
    keys = patches.numpy().reshape(-1, 5)
    total = 0.0
    for image in range(3):
        for prediction, place in zip(predictions[image].numpy(), places, strict=True):
            odds = np.exp(0.1 * keys @ prediction)
            total -= np.log(odds[image * 6 + place] / odds.sum())
    assert losses.patch_nce(predictions, patches, places).item() == pytest.approx(total / 12)


def test_patch_nce_of_equal_patches():
    same = torch.ones(3, 6, 5)
    assert losses.patch_nce(same[:, :2], same, [0, 3]).item() == pytest.approx(math.log(18), abs=1e-5)


@pytest.mark.parametrize("largest", [1, 30])
def test_blocks_change_nothing(monkeypatch, largest):
    v, patches, bank = draw(6, 5).requires_grad_(), draw(6, 4, 5).requires_grad_(), unit(7, 5)

    def all_of_them():
        partition = losses.log_partition(v, bank, 50)
        nce = losses.instance_nce(v, bank[:6], bank, 50, partition)
        softmax = losses.instance_softmax(v, torch.arange(6), bank)
        return nce + softmax + losses.patch_nce(patches[:, :2], patches, [3, 2])

    whole = all_of_them()
    expected = torch.autograd.grad(whole, (v, patches))
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", largest)
    torch.testing.assert_close(all_of_them(), whole)
    torch.testing.assert_close(torch.autograd.grad(all_of_them(), (v, patches)), expected)
