"""Random numbers that are functions of a seed for each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode

from selfsight.views import Batch, draws

INDEX = torch.arange(2000)


def splitmix64(seed: int) -> int:
    """One number of the published generator, written in Python's whole numbers."""
    mask = 2**64 - 1
    z = (seed + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_numbers_are_those_of_splitmix64():
    seed = torch.tensor([0, 1, -5, 2**62 + 12345])
    found = draws.uniform(seed, (3,))
    for row, start in zip(found, seed.tolist(), strict=True):
        for number, step in zip(row.tolist(), range(3), strict=True):
            assert number == (splitmix64((start + step * 0x9E3779B97F4A7C15) % 2**64) >> 40) / 2**24
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # as published


@pytest.mark.parametrize(
    ("draw", "law"), [(draws.uniform, stats.uniform), (draws.normal, stats.norm), (draws.gumbel, stats.gumbel_r)]
)
def test_numbers_follow_their_law_over_images_and_over_counters(draw, law):
    seed = draws.seeds(7, INDEX)
    numbers = draw(seed, (4, 5))
    assert numbers.shape == (2000, 4, 5) and numbers.dtype == torch.float32 and numbers.isfinite().all()
    for part in (numbers[:, 0, 0], numbers[:, 3, 4], draw(seed[:1], (4000,))[0], numbers.flatten()):
        assert stats.kstest(part.numpy(), law.cdf).pvalue > 1e-3


def test_neighbouring_seeds_counters_and_streams_are_independent():
    seed = draws.seeds(0, INDEX)
    numbers = draws.normal(seed, (8,)).numpy()
    others = draws.normal(seed, (8,), stream=1).numpy()
    later = draws.normal(draws.seeds(1, INDEX), (8,)).numpy()
    pairs = [(numbers[:-1], numbers[1:]), (numbers[:, :-1], numbers[:, 1:]), (numbers, others), (numbers, later)]
    for one, other in pairs:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)
    assert len(seed.unique()) == len(INDEX)


def test_a_batch_gives_an_image_the_same_seed_in_whichever_part_it_lies():
    batch = Batch([torch.zeros(6, 1)], torch.tensor([4, 9, 2, 7, 0, 5]), shared_seed=3)
    assert torch.equal(torch.cat([batch[:2].seed, batch[2:].seed]), batch.seed)
    assert not torch.equal(Batch(batch.views, batch.index, shared_seed=4).seed, batch.seed)
    assert torch.equal(draws.uniform(batch[2:].seed, (3,)), draws.uniform(batch.seed, (3,))[2:])


def test_nothing_waits_for_the_device():
    with FakeTensorMode():
        seed = draws.seeds(5, torch.arange(4))
        for draw in (draws.uniform, draws.normal, draws.gumbel):
            assert draw(seed, (2, 3)).shape == (4, 2, 3)
