from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selfsight.data import choose_size, open_source


def source(height: int, width: int):
    return open_source(np.zeros((5, height, width, 3), np.uint8))


def test_size_is_native_for_small_alike_images():
    assert choose_size(source(32, 32)) == 32
    assert choose_size(source(32, 40)) == 32
    assert choose_size(source(100, 100)) == 224
    assert choose_size(source(32, 32), 64) == 64
    with pytest.raises(ValueError, match="image_size"):
        choose_size(source(32, 32), 0)


def test_size_is_usual_for_images_of_different_shapes(tmp_path):
    for side in (32, 40):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    assert choose_size(open_source(tmp_path)) == 224
