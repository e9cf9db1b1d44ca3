from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder

from selfsight.data import UnreadableImage, open_source

from .conftest import picture


class Items(Dataset):
    def __init__(self, items, **attributes):
        self.items = items
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def test_torchvision_folder(pictures):
    source = open_source(ImageFolder(str(pictures)))
    assert (len(source), source.classes, source.channels) == (12, ["a", "b"], 3)
    assert source.labels.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_array_equal(source.read(8).permute(1, 2, 0).numpy(), picture(10, 12, seed=8))
    assert source.read(8, 5).shape == (3, 5, 6)


def test_fake_data_and_a_subset_of_a_dataset(pictures):
    source = open_source(FakeData(size=7, image_size=(3, 8, 8), num_classes=4))
    assert len(source.labels) == 7
    part = open_source(Subset(ImageFolder(str(pictures)), [0, 11]))
    assert part.labels.tolist() == [0, 1]


def test_tensors_arrays_and_dictionaries():
    pixels = torch.rand(4, 3, 6, 6)
    source = open_source(TensorDataset(pixels, torch.tensor([3, 3, 5, 3])))
    assert source.labels.tolist() == [0, 0, 1, 0]
    assert source.value_range == (0.0, 1.0)
    assert torch.equal(source.read(2), pixels[2])
    assert open_source(TensorDataset(pixels)).labels is None
    records = [{"image": Image.fromarray(picture(5, 5, 1)[..., 0]), "label": name} for name in ("x", "y")]
    assert open_source(Items(records)).classes == ["x", "y"]
    bare = open_source(Items([np.zeros((5, 5, 3), np.uint8)] * 2))
    assert (bare.labels, bare.channels) == (None, 3)


def test_targets_keep_the_codes_of_the_classes():
    source = open_source(Items([torch.zeros(1, 8, 8)] * 2, targets=[2, 2], classes=["p", "q", "r"]))
    assert (source.labels.tolist(), source.classes) == ([2, 2], ["p", "q", "r"])


def test_unreadable_items_and_other_errors():
    images = [torch.zeros(1, 8, 8)] * 100
    source = open_source(Items(images, targets=[0] * 100))
    source.dataset.items = [OSError("cut short"), KeyError("a mistake")]
    with pytest.raises(UnreadableImage, match=r"Items\[0\]: cut short"):
        source.read(0)
    with pytest.raises(UnreadableImage, match=r"Items\[1\]: KeyError: 'a mistake'"):
        source.read(1)


def test_what_is_no_dataset():
    with pytest.raises(ValueError, match="cannot read images from int"):
        open_source(3)
    with pytest.raises(ValueError, match="Items is empty"):
        open_source(Items([]))
