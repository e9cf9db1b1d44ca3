"""Python objects as people have them: read rightly, or refused in one line that names what would do."""

from __future__ import annotations

import os

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from selfsight.data import UnreadableImage, open_source, splits

from .conftest import picture

LABELS = ["cat"] * 6 + ["dog"] * 6
PIXELS = np.stack([picture(10, 12, seed=number) for number in range(12)])
PILLOW = [Image.fromarray(pixels) for pixels in PIXELS]
datasets.disable_progress_bars()


class Items(torch.utils.data.Dataset):
    def __init__(self, items, length=None):
        self.items, self.length = items, len(items) if length is None else length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(PIXELS)


@pytest.fixture
def paths(pictures):
    return [str(path) for path in sorted(pictures.rglob("*.png"))]


def hugging_face(**more):
    rows = datasets.Dataset.from_dict({"photo": PILLOW, "species": LABELS, "age": list(range(12)), **more})
    return rows.cast_column("species", datasets.ClassLabel(names=["cat", "dog"]))


def is_right(source, labels=LABELS):
    assert len(source) == 12
    for index in range(12):
        np.testing.assert_array_equal(source.read(index).permute(1, 2, 0).numpy(), PIXELS[index])
    if labels is None:
        assert source.labels is None
    else:
        assert [source.classes[code] for code in source.labels] == [str(label) for label in labels]


def test_paths_in_any_list(paths):
    for data in (paths, tuple(paths), pd.Series(paths, index=range(5, 17)), np.array(paths)):
        is_right(open_source(data), None)
    for data in (list(zip(paths, LABELS, strict=True)), (paths, LABELS), {"path": paths, "label": LABELS}):
        is_right(open_source(data))
    is_right(open_source([{"path": path, "label": label} for path, label in zip(paths, LABELS, strict=True)]))


def test_data_frames(paths):
    is_right(open_source(pd.DataFrame({"path": paths, "label": pd.Categorical(LABELS)})))
    is_right(open_source(pd.DataFrame({"path": [os.fsencode(path) for path in paths], "label": LABELS})))
    named = pd.DataFrame({"file": pd.array(paths, dtype="string"), "kind": LABELS}).set_index("file")
    is_right(open_source(named, path_column="file", label="kind"))
    parts = splits(pd.DataFrame({"path": paths, "label": LABELS, "Split": ["Train "] * 8 + ["DEV"] * 4}))
    assert {part: len(source) for part, source in parts.items()} == {"train": 8, "val": 4}


def test_images_and_labels():
    codes = np.arange(12) % 3
    tensors = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    for data in (
        (PIXELS, codes),
        [PIXELS, codes.tolist()],
        (PIXELS, np.eye(3)[codes]),
        (tensors, torch.from_numpy(codes)),
        {"images": PIXELS, "labels": codes},
        {"x": PIXELS, "y": codes},
        {"image": PILLOW, "label": codes.tolist()},
        TensorDataset(tensors, torch.from_numpy(codes)),
        list(zip(PILLOW, codes, strict=True)),
    ):
        is_right(open_source(data), codes)
    both = splits(((PIXELS, codes), (255 - PIXELS, codes)))
    assert {part: len(source) for part, source in both.items()} == {"train": 12, "test": 12}
    several = open_source((PIXELS, np.tile([1, 1, 0], (12, 1))))
    assert several.labels is None and list(several.metadata) == ["label_0", "label_1", "label_2"]


def test_dictionaries_of_parts_under_other_names():
    parts = {"training": (PIXELS, LABELS), "dev": (PIXELS[:6], LABELS[:6])}
    assert list(splits(parts)) == ["train", "val"]
    assert len(open_source(parts, split="validation")) == 6
    with pytest.raises(ValueError, match="both 'train' and 'training' of the dictionary"):
        splits({"train": PIXELS, "training": PIXELS})


def test_lists_of_images_of_mixed_kinds():
    is_right(open_source(PILLOW), None)
    is_right(open_source(list(PIXELS)), None)
    is_right(open_source([Image.fromarray(PIXELS[0]), *PIXELS[1:]]), None)
    mixed = open_source([PIXELS[0], PIXELS[1][..., 0], PIXELS[2][:5].astype(np.int64)])
    assert [tuple(mixed.read(index).shape) for index in range(3)] == [(3, 10, 12), (3, 10, 12), (3, 5, 12)]
    assert open_source([image.convert(mode) for image, mode in zip(PILLOW, "LLLPPP", strict=False)]).channels == 3
    with pytest.raises(ValueError, match=r"3 channels of uint8 \(6\), 3 channels of float32 \(6\): bring all to one"):
        open_source([*PIXELS[:6], *(PIXELS[6:] / np.float32(255))])


def test_tensors_of_any_kind():
    values = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    for data in (values.clone().requires_grad_(), values.bfloat16(), values.half(), list(values.bfloat16())):
        source = open_source(data)
        assert source.value_range == (0.0, 1.0) and torch.allclose(source.read(3).float(), values[3], atol=0.01)


def test_datasets_made_of_others_keep_the_names(pictures):
    folder = ImageFolder(str(pictures))
    part = open_source(Subset(Subset(folder, [0, 7, 11]), [1, 2]))
    assert (part.classes, part.labels.tolist()) == (["a", "b"], [1, 1])
    joined = open_source(ConcatDataset([Subset(folder, [0, 7]), Subset(folder, [1])]))
    assert (joined.classes, joined.labels.tolist()) == (["a", "b"], [0, 1, 0])
    shifted = open_source(ImageFolder(str(pictures), target_transform=lambda code: 1 - code))
    assert shifted.labels.tolist() == [1] * 6 + [0] * 6


def test_hugging_face():
    rows = hugging_face()
    is_right(open_source(rows))
    is_right(open_source(rows.with_format("torch")))
    assert open_source(rows).metadata["age"].tolist() == list(range(12))
    parts = splits(datasets.DatasetDict({"train": rows, "validation": rows.select([11])}))
    assert parts["val"].labels.tolist() == [1] and list(parts) == ["train", "val"]
    two = hugging_face(fine=[0, 1] * 6).cast_column("fine", datasets.ClassLabel(names=["x", "y"]))
    with pytest.raises(ValueError, match="several columns of classes, species, fine: name one with label="):
        open_source(two)
    assert open_source(two, label="fine").classes == ["x", "y"]
    with pytest.raises(ValueError, match="several columns of images, a, b: name one with path_column="):
        open_source(datasets.Dataset.from_dict({"a": PILLOW, "b": PILLOW}))
    for name in ("image", "images"):
        is_right(open_source(datasets.Dataset.from_dict({"a": PILLOW[::-1], name: PILLOW, "label": LABELS})))
    with pytest.raises(ValueError, match="no column of images but species, age: cast one"):
        open_source(rows.remove_columns("photo"))


def test_hugging_face_of_paths(paths):
    is_right(open_source(datasets.Dataset.from_dict({"path": paths, "label": LABELS})))


def test_one_of_several_columns_of_labels():
    codes = np.arange(12) % 3
    for other in ("age", "zone"):
        source = open_source({"images": PIXELS, "label": 2 - codes, other: codes}, label=other)
        is_right(source, codes)
        assert source.metadata["label_in_table"].tolist() == (2 - codes).tolist()


def test_a_tenth_of_other_images_is_borne():
    few = [image / np.float32(255) for image in PIXELS[:3]]
    source = open_source([*PIXELS, *PIXELS[:6], *few[:2]])
    np.testing.assert_array_equal(source.read(17).permute(1, 2, 0).numpy(), PIXELS[5])
    with pytest.raises(ValueError, match="do not go together"):
        open_source([*PIXELS, *PIXELS[:6], *few])


def test_dictionaries_with_other_keys():
    is_right(
        open_source(Items([{"img": image, "fine_label": name} for image, name in zip(PILLOW, LABELS, strict=True)]))
    )
    both = Items([{"img": image, "fine_label": 0, "coarse_label": 1} for image in PILLOW])
    with pytest.raises(ValueError, match="several labels, 'fine_label', 'coarse_label': name one with label="):
        open_source(both)
    assert open_source(both, label="coarse_label").classes == ["1"]


def test_items_that_fail_are_named():
    source = open_source(Items([PILLOW[0], OSError("cut short"), None, KeyError("key"), PILLOW[1]]))
    for index, why in ((1, "cut short"), (2, "None"), (3, "KeyError")):
        with pytest.raises(UnreadableImage, match=rf"Items\[{index}\]: .*{why}"):
            source.read(index)
    np.testing.assert_array_equal(source.read(4).permute(1, 2, 0).numpy(), PIXELS[1])


def test_labels_of_some_items_only():
    source = open_source(Items([(image, "x" if number % 2 else None) for number, image in enumerate(PILLOW)]))
    assert source.labels.tolist() == [-1, 0] * 6
    masks = open_source(Items([(image, image.convert("L")) for image in PILLOW]))
    assert masks.labels is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the list is empty: give a folder"),
        ({}, "the dictionary is empty"),
        (None, "there is no data: give a folder"),
        ([1, 2, 3], "the list holds numbers such as 1"),
        (PILLOW[0], "this is one image: give a list"),
        (PIXELS[0][:, :, :3].repeat(2, 0), "as one image in colour: add an axis"),
        ((PIXELS, LABELS[:5]), "12 images and 5 labels"),
        ((image for image in PIXELS), "can only be read from its beginning; give a list of its images"),
        (Stream(), "can only be read from its beginning"),
        (DataLoader(Items(PILLOW)), "give its data set, loader.dataset"),
        (hugging_face().to_iterable_dataset(), "can only be read from its beginning"),
        (Items([(image, image) for image in PILLOW]), "holds 2 images, as of two views.*without the transform"),
        (Items([((image, image), 1) for image in PILLOW]), "a tuple of 2 in place of an image.*without the transform"),
        (Items(PILLOW, length=20), "says that it has 20 items, and has no last one"),
        (Items([{"foo": 1}]), "an item holds 'foo', none of which is called 'image'"),
        (Items([(1, image) for image in PILLOW]), "an item begins with int '1', which is no image"),
        (["a.png", None], "a list of paths holds NoneType"),
        ((LABELS, PIXELS), "give .images, labels., in this order"),
        ([np.array([0, 1] * 6), PIXELS], "give .images, labels., in this order"),
        ((PIXELS, 3), "holds images beside int"),
        ((PIXELS, LABELS, LABELS), "a tuple of 3 holds images beside list"),
        (torch.zeros(2, 3, 8, 8, device="meta"), "has a shape and no values"),
        (torch.nested.nested_tensor([torch.zeros(3, 8, 8)] * 2, layout=torch.jagged), "is a nested tensor"),
        (pd.DataFrame({"path": [[1], [2]]}), "column of paths of the DataFrame holds list"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.complex64), "are not images: take abs"),
        (pd.DataFrame({"file": ["a.png"]}), "has no column 'path' but file: name it with path_column="),
    ],
)
def test_what_is_refused_in_one_line(data, message):
    with pytest.raises(ValueError, match=message) as raised:
        splits(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [PIXELS, (PIXELS, LABELS), PILLOW, ["a.png"], [("a.png", 1)], Items(PILLOW)])
def test_a_column_of_paths_is_refused_where_there_are_no_columns(data):
    with pytest.raises(ValueError, match="path_column is a column of a table"):
        splits(data, path_column="file")


def test_folders_in_a_list_are_refused(pictures):
    with pytest.raises(ValueError, match="is a folder: give the folder that holds all of them, or a dictionary"):
        splits([pictures / "a", pictures / "b"])


def test_archives_under_other_names(tmp_path):
    codes = np.arange(12) % 2
    np.savez(tmp_path / "keras.npz", x_train=PIXELS, y_train=codes, x_test=PIXELS[:4], y_test=codes[:4])
    np.savez(tmp_path / "words.npz", training_images=PIXELS, training_labels=codes, dev_images=PIXELS[:4])
    assert {part: len(source) for part, source in splits(tmp_path / "keras.npz").items()} == {"train": 12, "test": 4}
    parts = splits(tmp_path / "words.npz")
    assert list(parts) == ["train", "val"] and parts["train"].labels.tolist() == codes.tolist()
