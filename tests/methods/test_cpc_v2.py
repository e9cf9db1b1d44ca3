"""CPC v2: contexts that cannot see what they predict."""

from __future__ import annotations

import pytest
import torch

from conformance.cases import small_method
from selfsight.methods._context import Direction
from selfsight.methods.cpc_v2 import CPCV2, tile_and_stride
from selfsight.nets import build_encoder
from selfsight.testing import IMAGES, SIZE, small_batches, small_encoder
from selfsight.views import Augmentation


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_a_prediction_sees_nothing_of_its_target_and_beyond(dims, turned):
    grid = (4, 5, 3)[:dims]
    places = torch.arange(torch.Size(grid).numel()).view(grid)
    for axis in range(dims):
        torch.manual_seed(0)
        direction = Direction(6, 8, 5, 4, 2, axis, turned, dims)
        z = torch.randn(1, *grid, 6, requires_grad=True)
        predictions, meant = direction(z, places)
        row_size = len(places.flatten()) // grid[axis]
        near, far = ((grid[axis] - k) * row_size for k in (1, 2))
        assert predictions.shape[1] == len(meant) == near + far
        for number in range(near + far):
            (gradient,) = torch.autograd.grad(predictions[0, number].sum(), z, retain_graph=True)
            seen = gradient[0].abs().sum(-1).movedim(axis, 0).flatten(1).sum(1)
            row = int((places == meant[number]).nonzero()[0, axis])
            ahead = 1 if number < near else 2
            hidden = seen[: row + ahead] if turned else seen[row - ahead + 1 :]
            known = seen[row + ahead :] if turned else seen[: row - ahead + 1]
            assert (hidden == 0).all(), "the target and all beyond"
            assert (known > 0).all(), "all rows before"


def test_predictors_are_matrices_alone():
    direction = Direction(6, 8, 5, 4, 2, 0, False, 2)
    z, places = torch.randn(1, 4, 5, 6), torch.arange(20).view(4, 5)
    for predictor in direction.predictors:
        torch.nn.init.zeros_(predictor.weight)
    assert (direction(z, places)[0] == 0).all()


def test_predictions_name_the_patch_that_they_mean():
    method = small_method("cpc_v2", directions=1, offsets=2)
    _, places = method.predict(torch.randn(2, 9, method.encoder.width))
    assert places.tolist() == [3, 4, 5, 6, 7, 8, 6, 7, 8], "one row ahead, then two, each once"
    _, both = small_method("cpc_v2", directions=2, offsets=1).predict(torch.randn(2, 9, method.encoder.width))
    assert both.tolist() == [3, 4, 5, 6, 7, 8, 3, 4, 5, 0, 1, 2]
    _, every = small_method("cpc_v2").predict(torch.randn(2, 9, method.encoder.width))
    assert len(every) == 4 * 9 and set(every.tolist()) == set(range(9))


def test_a_patch_is_encoded_by_itself():
    method = small_method("cpc_v2").eval()
    (batch,) = small_batches(method, count=1)
    assert [tuple(view.shape) for view in batch.views] == [(IMAGES, 3, 16, 16)] * 9
    loss = method(batch)["loss"]
    batch.views = [view.flip(0) for view in batch.views]
    torch.testing.assert_close(method(batch)["loss"], loss)


@pytest.mark.parametrize(
    ("size", "expected"), [(260, (80, 36, 6)), (224, (64, 31, 6)), (32, (8, 4, 7)), (96, (24, 13, 6))]
)
def test_patches_of_the_paper_in_proportion(size, expected):
    method = CPCV2(build_encoder("resnet_slim", image_size=size), context=8, target=8, depth=1)
    tile, stride = tile_and_stride(size)
    assert (tile, stride, *set(method.grid)) == expected
    assert len(method.views(size, Augmentation()).sizes) == expected[2] ** 2
    assert len(method.directions[0].predictors) == min(5, expected[2] - 1)


def test_a_grid_without_anything_to_predict_is_named():
    with pytest.raises(ValueError, match="has none to predict: lower tile"):
        CPCV2(small_encoder(), tile=SIZE)


def test_with_group_norm_patches_do_not_see_one_another():
    encoder = build_encoder("resnet_slim", image_size=32, norm_layer="groupnorm")
    method = CPCV2(encoder, context=8, target=8, depth=1)
    assert not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in method.modules())
    patches = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(method.encoder(patches)[:1], method.encoder(patches[:1]))
