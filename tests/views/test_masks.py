import pytest
import torch

from selfsight.views import RandomPatches, complement


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
