import numpy as np
import torch
from PIL import Image

from selfsight.data import full_canvas
from selfsight.gallery import draw_views
from selfsight.gallery.pictures import GAP
from selfsight.views import Augmentation, multi_crop, original


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_picture_shows_the_images_as_they_were(tmp_path):
    pixels = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    views = original(64).normalised((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    draw_views(views([full_canvas(pixels)], torch.Generator()), views, tmp_path / "views.png")
    shown = read(tmp_path / "views.png")
    assert shown.shape == (96 + GAP, 3 * (96 + GAP), 3)
    tile = shown[GAP + 16 : GAP + 80, GAP + 16 : GAP + 80].astype(int)
    assert np.abs(tile - pixels[0].permute(1, 2, 0).numpy()).max() <= 1


def test_a_row_for_each_view_whatever_its_size(tmp_path):
    canvas = full_canvas(torch.randint(0, 256, (10, 1, 32, 32), dtype=torch.uint8))
    views = multi_crop(32, Augmentation(crops=(2, 3), jitter_p=0.0, grayscale=0.0)).normalised((0.5,), (0.2,))
    draw_views(views([canvas], torch.Generator().manual_seed(0)), views, tmp_path / "views.png")
    assert read(tmp_path / "views.png").shape == (5 * (96 + GAP), 8 * (96 + GAP), 3)
