import numpy as np
import pytest
import torch

from selfsight.nets import build_encoder, fix_positions, load_weights, save_encoder, sin_cos_positions


def test_positions_are_sines_and_cosines_of_column_and_row():
    positions = sin_cos_positions((3, 5), 16).numpy()
    frequency = [1, 1e-1, 1e-2, 1e-3]
    for cell in range(15):
        row, column = divmod(cell, 5)
        expected = np.concatenate(
            [f(np.multiply(where, frequency)) for where in (column, row) for f in (np.sin, np.cos)]
        )
        np.testing.assert_allclose(positions[cell], expected, atol=1e-6)


def test_positions_in_a_volume_tell_all_cells_apart():
    positions = sin_cos_positions((2, 3, 4), 12)
    assert positions.shape == (24, 12)
    assert torch.cdist(positions, positions).add(torch.eye(24)).min() > 0.1
    with pytest.raises(ValueError, match="multiple of 6"):
        sin_cos_positions((2, 3, 4), 16)
    with pytest.raises(ValueError, match="multiple of 4"):
        sin_cos_positions((2, 3), 18)


@pytest.mark.parametrize("options", [{}, {"no_embed_class": True}, {"class_token": False, "global_pool": "avg"}])
def test_a_fresh_vit_gets_fixed_positions(options):
    encoder = build_encoder("vit_small_image", image_size=(16, 24), **options)
    fix_positions(encoder)
    positions = encoder.model.pos_embed
    assert not positions.requires_grad
    torch.testing.assert_close(positions[0, -24:], sin_cos_positions((4, 6), 192))
    assert not positions[0, :-24].any()


def test_positions_that_came_with_weights_stay(tmp_path):
    trained = build_encoder("vit_small_image", image_size=16)
    save_encoder(trained, tmp_path)
    encoder = build_encoder("vit_small_image", image_size=16)
    load_weights(encoder, tmp_path)
    fix_positions(encoder)
    assert encoder.model.pos_embed.requires_grad and torch.equal(encoder.model.pos_embed, trained.model.pos_embed)


def test_a_net_without_positions_is_left_alone():
    encoder = build_encoder("resnet_slim", image_size=32)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fix_positions(encoder)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
