"""Kind 10: Python objects as people have them: read, or refused in one line that names what would do."""

from __future__ import annotations

import collections
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from numpy.random import Generator
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import v2

from hostile.case import BAD, Case, Expect, OneOf, Parts, Reads, Trial, Unit, either, refused
from hostile.formats import first, noise, saved

COUNT = 12
LABELS = [number % 2 for number in range(COUNT)]
WORDS = ["cat", "dog"] * (COUNT // 2)


class Given:
    """The same images in every form that a case may ask for."""

    def __init__(self, folder: Path, rng: Generator):
        self.folder = folder
        self.pixels = noise(rng, (COUNT, 7, 6, 3))
        self.pillow = [Image.fromarray(image) for image in self.pixels]
        self.tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in self.pixels]
        self.floats = [tensor.float() / 255 for tensor in self.tensors]

    def files(self) -> list[str]:
        paths = []
        for number, image in enumerate(self.pillow):
            path = self.folder / WORDS[number] / f"{number:02}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(saved(image, "PNG"))
            paths.append(str(path))
        return paths


class Items(Dataset):
    """A data set of given items; an exception among them is raised."""

    def __init__(self, items: Any, **more: Any):
        self.items = items
        vars(self).update(more)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        item = self.items[index]
        if isinstance(item, BaseException):
            raise item
        return item


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def reads(given: Given, labels: Any = None, classes: Any = None, **more: Any) -> Reads:
    """All images in order, as they are stored; labels by position."""
    answers = {str(number): first(image) for number, image in enumerate(given.pixels)}
    return Reads(answers, None if labels is None else dict(zip(answers, labels, strict=True)), classes, **more)


def by_path(given: Given, labels: Any = None, classes: Any = None) -> Reads:
    names = [f"{WORDS[number]}/{number:02}.png" for number in range(COUNT)]
    answers = {name: first(image) for name, image in zip(names, given.pixels, strict=True)}
    return Reads(answers, None if labels is None else dict(zip(names, labels, strict=True)), classes)


def shares(given: Given, labels: Any = None) -> Reads:
    answers = {str(number): Unit(first(image) / 255) for number, image in enumerate(given.pixels)}
    return Reads(answers, None if labels is None else dict(zip(answers, labels, strict=True)))


def with_bad(given: Given, *places: int) -> Reads:
    answers = {str(number): BAD if number in places else first(image) for number, image in enumerate(given.pixels)}
    return Reads(answers)


def but(items: list[Any], **odd: Any) -> list[Any]:
    """The items, of which the third is another."""
    return [*items[:3], odd["third"], *items[4:]]


def grey(given: Given, number: int) -> Image.Image:
    return given.pillow[number].convert("L")


def mixed_modes(given: Given) -> Reads:
    """Every third image grey, read as RGB."""
    answers = {}
    for number, image in enumerate(given.pillow):
        shown = grey(given, number).convert("RGB") if number % 3 == 0 else image
        answers[str(number)] = first(np.asarray(shown))
    return Reads(answers, channels=3)


Answer = Callable[[Given], Expect]
Make = Callable[[Given], Any]
TEXTS = ["0", "1"] * (COUNT // 2)
TWO_VIEWS = refused("view")
NO_IMAGES = refused("image", "path")

LISTS: dict[str, tuple[Make, Answer]] = {
    "paths": (lambda g: g.files(), by_path),
    "path-objects": (lambda g: [Path(one) for one in g.files()], by_path),
    "bytes-paths": (lambda g: [os.fsencode(one) for one in g.files()], by_path),
    "tuple-of-paths": (lambda g: tuple(g.files()), by_path),
    "array-of-paths": (lambda g: np.array(g.files()), by_path),
    "object-array-of-paths": (lambda g: np.array(g.files(), dtype=object), by_path),
    "series-of-paths": (lambda g: pd.Series(g.files(), index=range(50, 50 + COUNT)), by_path),
    "index-of-paths": (lambda g: pd.Index(g.files()), by_path),
    "paths-and-words": (lambda g: list(zip(g.files(), WORDS, strict=True)), lambda g: by_path(g, WORDS)),
    "paths-and-numbers": (lambda g: list(zip(g.files(), LABELS, strict=True)), lambda g: by_path(g, TEXTS)),
    "lists-of-two": (lambda g: [[a, b] for a, b in zip(g.files(), WORDS, strict=True)], lambda g: by_path(g, WORDS)),
    "pair-of-lists": (lambda g: (g.files(), WORDS), lambda g: by_path(g, WORDS)),
    "pair-too-short": (lambda g: (g.files(), WORDS[:5]), lambda g: refused("12")),
    "paths-with-none": (lambda g: but(g.files(), third=None), lambda g: refused("None", "list of paths")),
    "paths-with-nan": (lambda g: but(g.files(), third=float("nan")), lambda g: refused("float", "list of paths")),
    "paths-with-images": (lambda g: but(g.files(), third=g.pillow[3]), lambda g: refused("paths")),
    "paths-with-folder": (lambda g: but(g.files(), third=str(g.folder / "cat")), lambda g: refused("folder")),
    "paths-missing": (lambda g: but(g.files(), third=str(g.folder / "gone.png")),
                      lambda g: Reads({**{k: v for k, v in by_path(g).images.items() if k != "dog/03.png"},
                                       "gone.png": BAD})),
    "path-with-null": (lambda g: but(g.files(), third="a\0b.png"), lambda g: either(Reads(), refused("a\\x00b"))),
    "one-path": (lambda g: g.files()[:1], lambda g: Reads({"cat/00.png": first(g.pixels[0])})),
    "set-of-paths": (lambda g: set(g.files()), lambda g: either(by_path(g), refused("order", "list"))),
    "dict-keys": (lambda g: dict.fromkeys(g.files()).keys(), lambda g: either(by_path(g), refused("list"))),
    "map": (lambda g: map(str, g.files()), lambda g: refused("list")),
    "generator": (lambda g: (image for image in g.pillow), lambda g: refused("list")),
    "zip": (lambda g: zip(g.pillow, LABELS, strict=True), lambda g: refused("list")),
    "deque": (lambda g: collections.deque(g.pillow), reads),
    "range": (lambda g: range(9), lambda g: NO_IMAGES),
    "numbers": (lambda g: [1, 2, 3], lambda g: NO_IMAGES),
    "empty": (lambda g: [], lambda g: refused("empty")),
    "nested-empty": (lambda g: [[], []], lambda g: refused("empty", "image", "pixels")),
    "nones": (lambda g: [None] * COUNT, lambda g: refused("None", "image")),
    "words": (lambda g: ["cat", "dog"], lambda g: refused("cat")),
    "pillow": (lambda g: g.pillow, reads),
    "pillow-and-labels": (lambda g: list(zip(g.pillow, WORDS, strict=True)), lambda g: reads(g, WORDS)),
    "pillow-mixed": (lambda g: [grey(g, n) if n % 3 == 0 else one for n, one in enumerate(g.pillow)], mixed_modes),
    "pillow-with-none": (lambda g: but(g.pillow, third=None), lambda g: with_bad(g, 3)),
    "pillow-with-word": (lambda g: but(g.pillow, third="x.png"), lambda g: with_bad(g, 3)),
    "pillow-with-array": (lambda g: but(g.pillow, third=g.pixels[3]), reads),
    "pillow-closed": (lambda g: [Image.open(io.BytesIO(saved(one, "PNG"))) for one in g.pillow], reads),
    "arrays": (lambda g: list(g.pixels), reads),
    "arrays-with-none": (lambda g: but(list(g.pixels), third=None), lambda g: with_bad(g, 3)),
    "arrays-of-sizes": (lambda g: [image[: 4 + n % 3] for n, image in enumerate(g.pixels)],
                        lambda g: Reads({str(n): first(image[: 4 + n % 3]) for n, image in enumerate(g.pixels)})),
    "arrays-mixed-type": (lambda g: [image if n % 2 else image / np.float32(255) for n, image in enumerate(g.pixels)],
                          lambda g: refused("uint8", "float32")),
    "one-float": (lambda g: but(list(g.pixels), third=g.pixels[3] / 255), lambda g: with_bad(g, 3)),
    "object-array": (lambda g: objects(list(g.pixels)), reads),
    "nested-lists": (lambda g: g.pixels.tolist(), reads),
    "tensors": (lambda g: g.tensors, reads),
    "tensors-on-tape": (lambda g: [one.clone().requires_grad_() for one in g.floats], shares),
    "tensors-bfloat": (lambda g: [one.bfloat16() for one in g.floats],
                       lambda g: Reads({str(n): Unit(first(one) / 255, 1 / 128) for n, one in enumerate(g.pixels)})),
    "tensors-half-and-float": (lambda g: [one.half() if n % 2 else one for n, one in enumerate(g.floats)], shares),
    "tensors-int64": (lambda g: [one.long() for one in g.tensors], reads),
    "tensors-int64-and-uint8": (lambda g: [one.long() if n % 3 == 0 else one for n, one in enumerate(g.tensors)],
                                reads),
    "tensors-complex": (lambda g: [one.cfloat() for one in g.floats], lambda g: refused("complex")),
    "tensors-grey-among": (lambda g: [one[:1] if n % 3 == 0 else one for n, one in enumerate(g.tensors)],
                           lambda g: Reads({str(n): first(np.repeat(one[..., :1], 3, 2) if n % 3 == 0 else one)
                                            for n, one in enumerate(g.pixels)}, channels=3)),
    "tensors-of-two-and-three": (lambda g: [one[:2] if n % 2 else one for n, one in enumerate(g.tensors)],
                                 lambda g: refused("channels")),
    "scalars": (lambda g: [torch.tensor(1.0)] * 5, lambda g: NO_IMAGES),
    "vectors": (lambda g: [torch.zeros(5)] * 5, lambda g: NO_IMAGES),
    "two-views": (lambda g: [(one, one) for one in g.tensors], lambda g: TWO_VIEWS),
    "two-views-listed": (lambda g: [([one, one], 1) for one in g.pillow], lambda g: TWO_VIEWS),
    "many-views": (lambda g: [([one] * 8, 1) for one in g.tensors], lambda g: TWO_VIEWS),
    "strings-of-bytes": (lambda g: [saved(one, "PNG") for one in g.pillow], lambda g: either(reads(g), refused("path",
                         "bytes", "image", "exist"))),
    "files": (lambda g: [io.BytesIO(saved(one, "PNG")) for one in g.pillow], lambda g: either(reads(g), NO_IMAGES)),
    "dictionaries": (lambda g: [{"image": a, "label": b} for a, b in zip(g.pillow, WORDS, strict=True)],
                     lambda g: reads(g, WORDS)),
    "dictionaries-of-paths": (lambda g: [{"path": a, "label": b} for a, b in zip(g.files(), WORDS, strict=True)],
                              lambda g: by_path(g, WORDS)),
    "dictionaries-other-keys": (lambda g: [{"foo": 1, "bar": 2}] * 5, lambda g: refused("'foo'", "image")),
    "loader": (lambda g: DataLoader(Items(g.tensors)), lambda g: refused("loader.dataset", "data set")),
    "stream": (lambda g: Stream(), lambda g: refused("list")),
    "none": (lambda g: None, lambda g: refused("no data")),
    "number": (lambda g: 7, lambda g: refused("int")),
    "image": (lambda g: g.pillow[0], lambda g: refused("one image")),
    "module": (lambda g: torch.nn.Linear(2, 2), lambda g: refused("Linear")),
    "class": (lambda g: Items, lambda g: refused("type")),
    "function": (lambda g: len, lambda g: refused("images")),
    "bytes": (lambda g: b"images", lambda g: refused("images")),
    "open-file": (lambda g: open(g.files()[0], "rb"), lambda g: refused("image")),  # noqa: SIM115  as people leave it
}  # fmt: skip

ARRAYS: dict[str, tuple[Make, Answer]] = {
    "pair": (lambda g: (g.pixels, np.array(LABELS)), lambda g: reads(g, TEXTS)),
    "pair-of-tensors": (lambda g: (torch.stack(g.tensors), torch.tensor(LABELS)), lambda g: reads(g, TEXTS)),
    "pair-as-list": (lambda g: [g.pixels, np.array(LABELS)], lambda g: reads(g, TEXTS)),
    "pair-of-words": (lambda g: (g.pixels, WORDS), lambda g: reads(g, WORDS)),
    "pair-with-none": (lambda g: (g.pixels, None), reads),
    "pair-column": (lambda g: (g.pixels, np.array(LABELS)[:, None]), lambda g: reads(g, TEXTS)),
    "pair-one-hot": (lambda g: (g.pixels, np.eye(2)[LABELS]), lambda g: reads(g, TEXTS)),
    "pair-of-floats": (lambda g: (g.pixels, np.array(LABELS, np.float32)), lambda g: reads(g, TEXTS)),
    "pair-of-bools": (lambda g: (g.pixels, np.array(LABELS, bool)),
                      lambda g: Reads({str(n): first(one) for n, one in enumerate(g.pixels)})),
    "pair-short": (lambda g: (g.pixels, LABELS[:-1]), lambda g: refused("12")),
    "pair-swapped": (lambda g: (np.array(LABELS), g.pixels), lambda g: refused("image", "channels", "shape")),
    "pair-of-series": (lambda g: (g.pixels, pd.Series(WORDS, index=range(9, 9 + COUNT))), lambda g: reads(g, WORDS)),
    "pair-categories": (lambda g: (g.pixels, pd.Series(WORDS, dtype="category")), lambda g: reads(g, WORDS)),
    "pair-one-number": (lambda g: (g.pixels, 3), lambda g: refused()),
    "three": (lambda g: (g.pixels, LABELS, LABELS), lambda g: refused()),
    "two-pairs": (lambda g: ((g.pixels, WORDS), (g.pixels[:4], WORDS[:4])),
                  lambda g: Parts({"train": reads(g, WORDS), "test": Reads(labels={"0": "cat", "3": "dog"})})),
    "columns": (lambda g: {"images": g.pixels, "labels": WORDS}, lambda g: reads(g, WORDS)),
    "columns-x-y": (lambda g: {"x": g.pixels, "y": np.array(LABELS)}, lambda g: reads(g, TEXTS)),
    "columns-short": (lambda g: {"images": g.pixels, "labels": WORDS[:3]}, lambda g: refused("12")),
    "columns-more": (lambda g: {"image": g.pixels, "label": WORDS, "age": list(range(COUNT))},
                     lambda g: reads(g, WORDS)),
    "columns-of-paths": (lambda g: {"path": g.files(), "label": WORDS}, lambda g: by_path(g, WORDS)),
    "parts": (lambda g: {"train": (g.pixels, WORDS), "test": (g.pixels[:4], WORDS[:4])},
              lambda g: Parts({"train": reads(g, WORDS), "test": Reads(labels={"0": "cat", "3": "dog"})})),
    "parts-named-else": (lambda g: {"training": g.pixels, "dev": g.pixels[:4]},
                         lambda g: Parts({"train": reads(g), "val": Reads()})),
    "parts-unknown": (lambda g: {"foo": g.pixels, "bar": g.pixels}, lambda g: either(Parts({"foo": Reads(),
                      "bar": Reads()}), refused("foo", "train"))),
    "parts-of-none": (lambda g: {"train": g.pixels, "test": None}, lambda g: refused("no data", "test")),
    "parts-empty": (lambda g: {}, lambda g: refused("empty")),
    "parts-by-number": (lambda g: {0: g.pixels, 1: g.pixels}, lambda g: either(refused("train", "0"), Parts({"0":
                        Reads(), "1": Reads()}))),
    "empty-array": (lambda g: np.zeros((0, 3, 8, 8)), lambda g: refused("at least one", "empty", "shape")),
    "one-axis": (lambda g: np.zeros(9), lambda g: refused("shape")),
    "no-axis": (lambda g: np.array(3), lambda g: refused("shape")),
    "six-axes": (lambda g: np.zeros((2, 2, 2, 2, 2, 2)), lambda g: refused("shape")),
    "masked": (lambda g: np.ma.masked_array(g.pixels, g.pixels > 99), lambda g: refused("mask")),
    "structured": (lambda g: np.zeros(4, [("a", int)]), lambda g: refused()),
    "dates": (lambda g: np.zeros((4, 8, 8), "datetime64[s]"), lambda g: refused("datetime64")),
    "complex": (lambda g: g.pixels.astype(complex), lambda g: refused("complex")),
    "sparse": (lambda g: torch.stack(g.tensors).to_sparse(), reads),
    "meta": (lambda g: torch.zeros(4, 3, 8, 8, device="meta"), lambda g: refused("meta")),
    "nested-tensor": (lambda g: torch.nested.nested_tensor([one for one in g.floats]), lambda g: either(shares(g),
                      refused())),
    "read-only": (lambda g: frozen(g.pixels), reads),
    "strided": (lambda g: np.repeat(g.pixels, 2, 1)[:, ::2], reads),
    "reversed": (lambda g: g.pixels[:, ::-1][:, ::-1], reads),
    "fortran": (lambda g: np.asfortranarray(g.pixels), reads),
    "big-endian": (lambda g: g.pixels.astype(">u2"), reads),
    "matrix": (lambda g: np.matrix([[1, 2], [3, 4]]), lambda g: refused("shape")),
}  # fmt: skip

FRAMES: dict[str, tuple[Callable[[pd.DataFrame], Any], dict[str, Any], Answer]] = {
    "plain": (lambda f: f, {}, lambda g: by_path(g, WORDS)),
    "other-index": (lambda f: f.set_index(pd.Index(range(7, 7 + COUNT))), {}, lambda g: by_path(g, WORDS)),
    "index-of-zeros": (lambda f: f.set_index(pd.Index([0] * COUNT)), {}, lambda g: by_path(g, WORDS)),
    "index-of-paths": (lambda f: f.set_index("path"), {}, lambda g: either(by_path(g, WORDS), refused("path"))),
    "two-level-index": (lambda f: f.set_index(pd.MultiIndex.from_product([[0, 1], range(6)])), {},
                        lambda g: by_path(g, WORDS)),
    "shuffled": (lambda f: f.iloc[::-1], {}, lambda g: by_path(g, WORDS)),
    "renamed": (lambda f: f.rename(columns={"path": "file"}), {}, lambda g: refused("'path'", "path_column")),
    "renamed-and-said": (lambda f: f.rename(columns={"path": "file", "label": "kind"}),
                         {"path_column": "file", "label": "kind"}, lambda g: by_path(g, WORDS)),
    "mistyped": (lambda f: f.rename(columns={"path": "file"}), {"path_column": "fiel"}, lambda g: refused("file")),
    "label-mistyped": (lambda f: f, {"label": "lable"}, lambda g: refused("label")),
    "numbers-as-names": (lambda f: f.rename(columns={"label": 0}), {}, by_path),
    "tuples-as-names": (lambda f: f.rename(columns={"label": ("a", "b")}), {}, by_path),
    "two-of-a-name": (lambda f: pd.concat([f, f[["label"]]], axis=1), {}, lambda g: either(by_path(g, WORDS),
                      refused("label"))),
    "two-paths": (lambda f: pd.concat([f, f[["path"]]], axis=1), {}, lambda g: refused("path")),
    "two-level-names": (lambda f: pd.concat({"a": f}, axis=1), {}, lambda g: refused("path")),
    "path-objects": (lambda f: f.assign(path=[Path(one) for one in f["path"]]), {}, lambda g: by_path(g, WORDS)),
    "categories": (lambda f: f.astype("category"), {}, lambda g: by_path(g, WORDS)),
    "strings": (lambda f: f.convert_dtypes(), {}, lambda g: by_path(g, WORDS)),
    "arrow": (lambda f: f.convert_dtypes(dtype_backend="pyarrow"), {}, lambda g: by_path(g, WORDS)),
    "missing-path": (lambda f: f.assign(path=[None, *f["path"][1:]]), {}, lambda g: refused("path")),
    "number-path": (lambda f: f.assign(path=[3, *f["path"][1:]]), {}, lambda g: either(refused("path", "3"), Reads())),
    "no-rows": (lambda f: f.iloc[:0], {}, lambda g: refused("empty", "no rows", "rows", "no images")),
    "no-columns": (lambda f: pd.DataFrame(index=range(3)), {}, lambda g: refused("path")),
    "labels-none": (lambda f: f.assign(label=[None, *f["label"][1:]]), {}, lambda g: by_path(g, [None, *WORDS[1:]])),
    "labels-all-none": (lambda f: f.assign(label=None), {}, lambda g: by_path(g, [None] * COUNT)),
    "labels-minus-one": (lambda f: f.assign(label=[-1, *LABELS[1:]]), {}, lambda g: by_path(g, [None, *TEXTS[1:]])),
    "labels-bool": (lambda f: f.assign(label=[word == "cat" for word in WORDS]), {}, by_path),
    "split": (lambda f: f.assign(split=["train", "train", "train", "test"] * 3), {},
              lambda g: Parts({"train": Reads(), "test": Reads()})),
    "column-of-arrays": (lambda f: f.assign(path=[np.zeros(3)] * COUNT), {}, lambda g: refused("path")),
    "series-row": (lambda f: f.iloc[0], {}, lambda g: either(refused(), Reads())),
    "group-by": (lambda f: f.groupby("label"), {}, lambda g: refused("DataFrame", "list", "data set", "image")),
}  # fmt: skip


def objects(items: list[Any]) -> np.ndarray:
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def folder_of(given: Given, **options: Any) -> ImageFolder:
    given.files()
    return ImageFolder(str(given.folder), **options)


def two_views(image: Any) -> tuple[Any, Any]:
    return image, image


TO_TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
ORDER = [*range(0, COUNT, 2), *range(1, COUNT, 2)]  # of a class folder


def in_folder(given: Given, unit: bool = False, labels: bool = True) -> Reads:
    """Images of `ImageFolder`, class by class."""
    answers: dict[str, Any] = {}
    for place, number in enumerate(ORDER):
        pixels = first(given.pixels[number])
        answers[str(place)] = Unit(pixels / 255) if unit else pixels
    return Reads(answers, {str(place): WORDS[number] for place, number in enumerate(ORDER)} if labels else None)


def fails(given: Given, *errors: BaseException) -> list[Any]:
    items: list[Any] = list(given.pillow)
    for place, error in enumerate(errors):
        items[place] = error
    return items


SETS: dict[str, tuple[Make, Answer]] = {
    "folder": (folder_of, in_folder),
    "folder-to-tensor": (lambda g: folder_of(g, transform=TO_TENSOR), lambda g: in_folder(g, unit=True)),
    "folder-two-views": (lambda g: folder_of(g, transform=two_views), lambda g: TWO_VIEWS),
    "folder-four-views": (lambda g: folder_of(g, transform=lambda one: [one] * 4), lambda g: TWO_VIEWS),
    "folder-dictionary": (lambda g: folder_of(g, transform=lambda one: {"a": one, "b": one}),
                          lambda g: TWO_VIEWS),
    "folder-none": (lambda g: folder_of(g, transform=lambda one: None), lambda g: refused("None")),
    "folder-fails": (lambda g: folder_of(g, transform=lambda one: 1 / 0), lambda g: refused("division")),
    "folder-flat": (lambda g: folder_of(g, transform=lambda one: np.asarray(one).ravel()), lambda g: NO_IMAGES),
    "folder-target": (lambda g: folder_of(g, target_transform=lambda one: 1 - one),
                      lambda g: Reads({}, {"0": OneOf(("1", "dog")), "11": OneOf(("0", "cat"))}, None)),
    "subset": (lambda g: Subset(folder_of(g), [11, 0, 5]), lambda g: Reads(None, {"0": "dog", "1": "cat", "2": "cat"},
               ["cat", "dog"])),
    "subset-of-subset": (lambda g: Subset(Subset(folder_of(g), [11, 0, 5]), [1, 0]),
                         lambda g: Reads(None, {"0": "cat", "1": "dog"}, ["cat", "dog"])),
    "subset-empty": (lambda g: Subset(folder_of(g), []), lambda g: refused("empty")),
    "subset-beyond": (lambda g: Subset(folder_of(g), [0, 1, 99]), lambda g: refused("99", "last", "length", "index")),
    "random-split": (lambda g: torch.utils.data.random_split(folder_of(g), [8, 4])[1], lambda g: Reads(None, None,
                     ["cat", "dog"])),
    "concat": (lambda g: ConcatDataset([folder_of(g), folder_of(g)]), lambda g: Reads(None, {"0": "cat", "23": "dog"})),
    "tensors": (lambda g: TensorDataset(torch.stack(g.tensors), torch.tensor(LABELS)), lambda g: reads(g, TEXTS)),
    "tensors-alone": (lambda g: TensorDataset(torch.stack(g.tensors)), reads),
    "fake": (lambda g: FakeData(size=9, image_size=(3, 8, 8)), lambda g: Reads(channels=3)),
    "targets-named": (lambda g: Items(list(zip(g.pillow, LABELS, strict=True)), targets=LABELS,
                      classes=["cat", "dog"]), lambda g: reads(g, WORDS)),
    "targets-differ": (lambda g: Items(list(zip(g.pillow, LABELS, strict=True)), targets=[9] * COUNT),
                       lambda g: reads(g, TEXTS)),
    "targets-short": (lambda g: Items(list(zip(g.pillow, LABELS, strict=True)), targets=[9]),
                      lambda g: reads(g, TEXTS)),
    "some-fail": (lambda g: Items(fails(g, OSError("disk"), ValueError("x"))), lambda g: with_bad(g, 0, 1)),
    "many-errors": (lambda g: Items(fails(g, KeyError("k"), IndexError("i"), RuntimeError("a\nb"), TypeError())),
                    lambda g: with_bad(g, 0, 1, 2, 3)),
    "all-fail": (lambda g: Items([RuntimeError("no\nluck")] * 9), lambda g: refused("luck")),
    "last-fails": (lambda g: Items([*g.pillow[:-1], OSError("gone")]), lambda g: with_bad(g, 11)),
    "stops": (lambda g: Items(fails(g, StopIteration())), lambda g: with_bad(g, 0)),
    "length-0": (lambda g: Items([]), lambda g: refused("empty")),
    "length-lies": (lambda g: Longer(g.pillow), lambda g: refused("20")),
    "length-fails": (lambda g: NoLength(g.pillow), lambda g: refused("length")),
    "masks": (lambda g: Items([(one, one.convert("L")) for one in g.pillow]), reads),
    "boxes": (lambda g: Items([(one, {"boxes": [1, 2]}) for one in g.pillow]), reads),
    "labels-tensor": (lambda g: Items([(one, torch.tensor(n % 2)) for n, one in enumerate(g.tensors)]),
                      lambda g: reads(g, TEXTS)),
    "labels-missing": (lambda g: Items([(one, None if n == 3 else n % 2) for n, one in enumerate(g.tensors)]),
                       lambda g: reads(g, [*TEXTS[:3], None, *TEXTS[4:]])),
    "label-first": (lambda g: Items([(n % 2, one) for n, one in enumerate(g.tensors)]), lambda g: refused("int")),
    "three-in-an-item": (lambda g: Items([(one, n % 2, "note") for n, one in enumerate(g.pillow)]),
                         lambda g: reads(g, TEXTS)),
}  # fmt: skip


class Longer(Items):
    def __len__(self) -> int:
        return 20


class NoLength(Items):
    def __len__(self) -> int:
        raise TypeError("no length")


def rows(given: Given, **columns: Any) -> datasets.Dataset:
    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict(columns)


def with_names(given: Given, image: str, label: str) -> datasets.Dataset:
    made = rows(given, **{image: given.pillow, label: LABELS})
    return made.cast_column(label, datasets.ClassLabel(names=["cat", "dog"]))


HUGGING: dict[str, tuple[Make, dict[str, Any], Answer]] = {
    **{f"{image}-{label}": (lambda g, image=image, label=label: with_names(g, image, label), {},
                            lambda g: reads(g, WORDS))
       for image, label in (("image", "label"), ("img", "fine_label"), ("photo", "species"), ("x", "y"),
                            ("Bild", "Art"), ("path", "label"), ("0", "1"))},
    "words": (lambda g: rows(g, image=g.pillow, label=WORDS), {}, lambda g: reads(g, WORDS)),
    "no-label": (lambda g: rows(g, image=g.pillow), {}, reads),
    "none-image": (lambda g: rows(g, image=but(g.pillow, third=None)), {}, lambda g: with_bad(g, 3)),
    "none-label": (lambda g: rows(g, image=g.pillow, label=but(WORDS, third=None)), {},
                   lambda g: reads(g, but(WORDS, third=None))),
    "paths": (lambda g: rows(g, path=g.files(), label=WORDS), {}, lambda g: by_path(g, WORDS)),
    "paths-elsewhere": (lambda g: rows(g, file=g.files(), label=WORDS), {"path_column": "file"},
                        lambda g: by_path(g, WORDS)),
    "arrays": (lambda g: rows(g, image=g.pixels.tolist(), label=WORDS), {}, lambda g: reads(g, WORDS)),
    "two-images": (lambda g: rows(g, a=g.pillow, b=g.pillow), {}, lambda g: refused("a, b", "path_column")),
    "two-images-said": (lambda g: rows(g, a=g.pillow, b=g.pillow), {"path_column": "b"}, reads),
    "two-labels-said": (lambda g: rows(g, image=g.pillow, coarse_label=[7] * COUNT, fine_label=WORDS),
                        {"label": "fine_label"}, lambda g: reads(g, WORDS)),
    "two-labels": (lambda g: rows(g, image=g.pillow, coarse_label=[7] * COUNT, fine_label=WORDS), {},
                   lambda g: refused("label=")),
    "no-images": (lambda g: rows(g, text=WORDS), {}, lambda g: refused("image")),
    "mistyped": (lambda g: with_names(g, "image", "label"), {"label": "lable"}, lambda g: refused("label")),
    "empty": (lambda g: with_names(g, "image", "label").select([]), {}, lambda g: refused("empty")),
    "formatted": (lambda g: with_names(g, "image", "label").with_format("torch"), {}, lambda g: reads(g, WORDS)),
    "transformed": (lambda g: with_names(g, "image", "label").with_transform(lambda batch: {"z": batch["label"]}), {},
                    lambda g: reads(g, WORDS)),
    "selected": (lambda g: with_names(g, "image", "label").select([5, 0]), {},
                 lambda g: Reads({"0": first(g.pixels[5]), "1": first(g.pixels[0])}, {"0": "dog", "1": "cat"})),
    "parts": (lambda g: datasets.DatasetDict(train=with_names(g, "image", "label"),
                                             test=with_names(g, "image", "label").select([1])), {},
              lambda g: Parts({"train": reads(g, WORDS), "test": Reads({"0": first(g.pixels[1])}, {"0": "dog"})})),
    "parts-named-else": (lambda g: datasets.DatasetDict(train=with_names(g, "img", "y"),
                                                        validation=with_names(g, "img", "y")), {},
                         lambda g: Parts({"train": reads(g, WORDS), "val": reads(g, WORDS)})),
    "stream": (lambda g: with_names(g, "image", "label").to_iterable_dataset(), {}, lambda g: refused("list",
               "length", "beginning")),
}  # fmt: skip


def handed(make: Make, answer: Answer, options: dict[str, Any]) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        given = Given(folder, rng)
        return Trial(make(given), answer(given), options)

    return build


def framed(change: Callable[[pd.DataFrame], Any], answer: Answer, options: dict[str, Any]) -> Any:
    def make(given: Given) -> Any:
        return change(pd.DataFrame({"path": given.files(), "label": WORDS, "age": range(COUNT)}))

    return handed(make, answer, options)


def cases() -> Iterator[Case]:
    for room, found in (("list", LISTS), ("array", ARRAYS), ("set", SETS)):
        for name, (make, answer) in found.items():
            yield Case(f"objects/{room}/{name}", 10, handed(make, answer, {}))
    for name, (change, options, answer) in FRAMES.items():
        yield Case(f"objects/frame/{name}", 10, framed(change, answer, options))
    for name, (make, options, answer) in HUGGING.items():
        yield Case(f"objects/hugging-face/{name}", 10, handed(make, answer, options))
