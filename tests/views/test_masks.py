import math

import pytest
import torch

from selfsight.views import Blocks, Halves, MultiBlock, RandomPatches, complement


@pytest.mark.parametrize(("grid", "keep", "kept"), [((8, 8), 0.25, 16), ((7, 7), 0.25, 12), ((4, 4, 4), 10, 10)])
def test_as_many_patches_as_asked_ascending_and_different(grid, keep, kept):
    mask = RandomPatches(grid, keep)
    visible = mask.sample(50, torch.Generator().manual_seed(0))
    assert visible.shape == (50, kept) and visible.dtype == torch.int64
    assert (visible.diff(dim=1) > 0).all() and visible.min() >= 0 and visible.max() < mask.patches
    assert len(visible.unique(dim=0)) == 50
    hidden = complement(visible, mask.patches)
    assert torch.cat([visible, hidden], 1).sort(1).values.equal(torch.arange(mask.patches).expand(50, -1))
    assert (hidden.diff(dim=1) > 0).all()


def test_every_patch_is_as_likely():
    visible = RandomPatches((4, 4), 4).sample(4000, torch.Generator().manual_seed(0))
    share = visible.flatten().bincount(minlength=16) / 4000
    assert (share - 0.25).abs().max() < 0.03


def test_the_same_generator_gives_the_same_patches():
    first, second = (RandomPatches((4, 4)).sample(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize("keep", [0, 16, 0.01, 1.0])
def test_all_or_none_is_refused(keep):
    with pytest.raises(ValueError, match="keep"):
        RandomPatches((4, 4), keep)


GRIDS = [((14, 14), 75), ((8, 8), 25), ((6, 12), 0.4), ((6, 8, 8), 0.5)]


@pytest.mark.parametrize(("grid", "hide"), GRIDS)
def test_blocks_hide_exactly_as_many_as_asked_for(grid, hide):
    mask = Blocks(grid, hide, smallest=4)
    hidden = mask.sample(400, torch.Generator().manual_seed(0))
    assert hidden.shape == (400, math.prod(grid)) and hidden.dtype == torch.bool
    assert (hidden.sum(1) == mask.hidden).all()
    assert len(hidden.unique(dim=0)) > 390
    often = hidden.float().mean(0).view(grid)
    assert often.min() > 0.02 and often.max() < 0.98, "no patch is always or never hidden"
    assert torch.equal(hidden, mask.sample(400, torch.Generator().manual_seed(0)))


def test_blocks_lie_together():
    """Neighbours of hidden patches are hidden far more often than at random."""
    hidden = Blocks((14, 14), 75).sample(200, torch.Generator().manual_seed(0)).view(200, 14, 14)
    both = (hidden[:, :, 1:] & hidden[:, :, :-1]).float().mean()
    assert both > 0.28 > 1.5 * (75 / 196) ** 2


def test_several_blocks_and_their_context_share_no_patch():
    for grid in ((14, 14), (8, 12), (6, 6, 6)):
        context, targets = MultiBlock(grid).sample(100, torch.Generator().manual_seed(3))
        patches = math.prod(grid)
        assert targets.shape[:2] == (100, 4) and context.shape[1] >= 4
        assert (context.diff(dim=1) > 0).all() and (targets.diff(dim=2) > 0).all()
        seen = torch.zeros(100, patches, dtype=torch.int64).scatter_(1, context, 1)
        wanted = torch.zeros(100, patches, dtype=torch.int64).scatter_(1, targets.flatten(1), 1)
        assert ((seen + wanted) <= 1).all()
        assert 0.1 * patches < targets.shape[2] < 0.27 * patches
        rows = targets[:, 0] // math.prod(grid[1:])
        assert len(targets[:, 0, 0].unique()) > 5 and (rows.amax(1) - rows.amin(1) < grid[0]).all()


def test_a_target_is_one_rectangle():
    _, targets = MultiBlock((10, 10)).sample(50, torch.Generator().manual_seed(0))
    rows, columns = targets // 10, targets % 10
    area = (rows.amax(2) - rows.amin(2) + 1) * (columns.amax(2) - columns.amin(2) + 1)
    assert (area == targets.shape[2]).all()


@pytest.mark.parametrize("mask", [RandomPatches((6, 6), 0.5), Blocks((6, 6), 0.5, smallest=4)])
def test_halves_are_the_whole(mask):
    visible, hidden = Halves(mask).sample(20, torch.Generator().manual_seed(0))
    assert visible.shape == hidden.shape == (20, 18)
    assert torch.equal(torch.cat([visible, hidden], 1).sort(1).values, torch.arange(36).expand(20, -1))


def test_what_cannot_be_hidden_is_refused():
    for wrong in ({"hide": 0}, {"hide": 36}, {"hide": 4, "smallest": 5}, {"hide": 4, "smallest": 0}):
        with pytest.raises(ValueError, match=r"hide|smallest"):
            Blocks((6, 6), **{"smallest": 1, **wrong})
    with pytest.raises(ValueError, match="lower targets"):
        MultiBlock((4, 4), targets=9, scale=(0.8, 0.9)).sample(3, torch.Generator().manual_seed(0))
