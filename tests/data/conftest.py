from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth random picture, so that JPEG and shrinking keep it recognisable."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [
        Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def write(path: Path, array: np.ndarray, **options) -> np.ndarray:
    """Write a picture, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.squeeze()).save(path, **options)
    return array


@pytest.fixture
def pictures(tmp_path):
    """Twelve lossless pictures of one shape in two classes; `image i` is `picture(seed=i)`."""
    for i in range(12):
        write(tmp_path / "images" / "ab"[i // 6] / f"{i:02}.png", picture(10, 12, seed=i))
    return tmp_path / "images"


@pytest.fixture
def ragged(tmp_path):
    """Twenty lossless pictures of many shapes, a panorama among them."""
    for i in range(20):
        height, width = (12, 300) if i == 7 else (12 + i % 3, 14 + i % 4)
        write(tmp_path / "ragged" / f"{i:02}.png", picture(height, width, seed=i))
    return tmp_path / "ragged"


@pytest.fixture
def broken(pictures):
    """The pictures, the second, fourth and sixth of which are empty, cut short, and no image."""
    (pictures / "a" / "01.png").write_bytes(b"")
    whole = (pictures / "a" / "03.png").read_bytes()
    (pictures / "a" / "03.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "a" / "05.png").write_text("not an image")
    return pictures
