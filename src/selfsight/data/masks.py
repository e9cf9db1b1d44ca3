"""Masks beside images: a class for each pixel, in the layouts of CamVid, ADE20K, Pascal VOC and COCO, or a column."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from selfsight.data.decoding import DECODE_ERRORS
from selfsight.data.folder import FolderSource, hidden, is_folder, scan
from selfsight.data.parts import by_part, part_of
from selfsight.data.sources import Source, Subset
from selfsight.naming import printable

log = logging.getLogger(__name__)

IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("annotations", "annotation", "annots", "annot", "masks", "mask", "labels", "label", "segmentationclass")
FOLDER_END = re.compile(r"[ _.-]*(annotations?|annots?|masks?|labels?)$")
FILE_END = re.compile(r"[ _.-]+(annotations?|annots?|masks?|labels?|lbl|gt|l)$", re.IGNORECASE)
MOST_CLASSES = 64  # in one mask; a grey photograph has more levels
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy")
INDEXED = ("1", "L", "P", "I")
PANOPTIC = re.compile(r"panoptic_(.+)\.json")
PIXELMAPS = re.compile(r"stuff_(.+)_pixelmaps")


@dataclass(frozen=True)
class Pair:
    """A folder of images and the masks of them.

    masks: paths by the image's path below `images` without its suffix. segments: by the same, the category of each
    number that a panoptic mask of colours stands for. only: which images belong to the part, None for all.
    """

    images: Path
    masks: Mapping[str, str]
    segments: Mapping[str, dict[int, str]] | None = None
    only: frozenset[str] | None = None


def masked_splits(root: Path, channels: int | None = None) -> dict[str, Source]:
    """The parts of a folder of images and masks, with a column "mask" of paths; {} where it is no such folder.

    Known are `train` beside `trainannot` (CamVid), `images/training` beside `annotations/training` (ADE20K), `images`
    and `masks` inside `train`, `JPEGImages`, `SegmentationClass` and `ImageSets` (Pascal VOC), and COCO's panoptic
    and stuff masks. An image without a mask has an empty cell.
    """
    pairs: dict[str, Pair] = {}
    for look in (coco, voc, beside, apart, inside):
        pairs = look(root)
        if pairs:
            break
    sources: dict[str, Source] = {}
    for part, pair in pairs.items():
        source = FolderSource(pair.images, channels=channels)
        channels = source.channels
        stems = [stem(os.path.relpath(path, pair.images)) for path in source.paths]
        source.metadata["mask"] = pd.Series([pair.masks.get(one) for one in stems], dtype=object)
        if pair.segments is not None:
            source.metadata["segments"] = pd.Series([pair.segments.get(one) for one in stems], dtype=object)
        wanted = [place for place, one in enumerate(stems) if pair.only is None or one in pair.only]
        sources[part] = source if len(wanted) == len(stems) else Subset(source, wanted, f"{source.name} ({part})")
        masked = sum(stems[place] in pair.masks for place in wanted)
        alone = len(pair.masks) - masked if pair.only is None else 0
        log.info(
            "%s (%s): %d of %d images have a mask%s", printable(root), part, masked, len(wanted),
            f"; {alone} masks have no image" if alone else "",
        )  # fmt: skip
    return sources


def beside(root: Path) -> dict[str, Pair]:
    """Folders whose names are those of others and a word for masks: `train` and `trainannot`."""
    names = {name.lower(): name for name in folders(root)}
    found = {}
    for low, name in names.items():
        base = names.get(FOLDER_END.sub("", low))
        if base is not None and base != name and (pair := paired(root / base, root / name)):
            found[base] = pair
    parts = {part: found[name] for part, name in by_part(found, printable(root)).items()}
    return parts or ({"all": next(iter(found.values()))} if len(found) == 1 else {})


def apart(root: Path) -> dict[str, Pair]:
    """A folder of images and one of masks, each with the same parts in it, or none."""
    images, masks = two_folders(root)
    if images is None or masks is None:
        return {}
    shared = by_part(set(folders(images)) & set(folders(masks)), printable(images))
    found = {part: pair for part, name in shared.items() if (pair := paired(images / name, masks / name))}
    if not found and (pair := paired(images, masks)):
        return {"all": pair}
    return found


def inside(root: Path) -> dict[str, Pair]:
    """Folders of parts, each with a folder of images and one of masks in it."""
    named = by_part((name for name in folders(root) if part_of(name)), printable(root)) if root.is_dir() else {}
    found = {}
    for part, name in named.items():
        images, masks = two_folders(root / name)
        pair = None if images is None or masks is None else paired(images, masks)
        if pair is not None:
            found[part] = pair
    return found if len(found) == len(named) else {}


def voc(root: Path) -> dict[str, Pair]:
    """Pascal VOC: lists of names say which images belong to a part."""
    lists = root / "ImageSets" / "Segmentation"
    pair = paired(root / "JPEGImages", root / "SegmentationClass", least=0.0) if lists.is_dir() else None
    if pair is None:
        return {}
    files = {file.stem: file for file in sorted(lists.glob("*.txt"))}
    if "train" in files:
        files.pop("trainval", None)
    named = by_part(files, printable(lists))
    return {
        part: Pair(pair.images, pair.masks, only=frozenset(files[name].read_text(encoding="utf-8").split()))
        for part, name in named.items()
    }


def coco(root: Path) -> dict[str, Pair]:
    """COCO's panoptic masks, whose colours are numbers of segments, or its stuff masks of indices."""
    found: dict[str, Pair] = {}
    places = [root, root / "annotations"]
    for file in sorted((root / "annotations").glob("panoptic_*.json")):
        match = PANOPTIC.fullmatch(file.name)
        masks = next((one for place in places if (one := place / file.stem).is_dir()), None)
        if match and masks is not None and (root / match[1]).is_dir():
            found[match[1]] = panoptic(root / match[1], masks, file)
    for folder in [one for place in places for one in sorted(place.glob("stuff_*_pixelmaps"))]:
        match = PIXELMAPS.fullmatch(folder.name)
        if match and match[1] not in found and (pair := paired(root / match[1], folder)):
            found[match[1]] = pair
    for name in folders(root / "stuffthingmaps"):
        if name not in found and (pair := paired(root / name, root / "stuffthingmaps" / name)):
            found[name] = pair
    return {part: found[name] for part, name in by_part(found, printable(root)).items()}


def panoptic(images: Path, masks: Path, file: Path) -> Pair:
    """What a panoptic JSON says. Raises `ValueError` where it is another."""
    try:
        content = json.loads(file.read_bytes())
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        named = {one["id"]: one["file_name"] for one in content["images"]}
        segments, paths = {}, {}
        for one in content["annotations"]:
            image = stem(named[one["image_id"]])
            paths[image] = str(masks / one["file_name"])
            segments[image] = {int(part["id"]): names[part["category_id"]] for part in one["segments_info"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{printable(file)} is not in COCO's panoptic form: {error!r}") from error
    return Pair(images, paths, segments, frozenset(stem(name) for name in named.values()))


def paired(images: Path, masks: Path, least: float = 0.5) -> Pair | None:
    """The pair of two folders, if masks are indices and at least this share of images have one."""
    if not (images.is_dir() and masks.is_dir()):
        return None
    stems = [stem(path) for path in scan(images).images]
    files = [path for path in scan(masks).images if path.lower().endswith(LOSSLESS)]
    if not stems or not files or not is_indexed(masks / files[0]):
        return None
    found = {stem(path): str(masks / path) for path in files}
    if not any(one in found for one in stems):
        found = {FILE_END.sub("", name): path for name, path in found.items()}
    matched = sum(one in found for one in stems)
    return Pair(images, found) if matched and matched >= least * len(stems) else None


def two_folders(root: Path) -> tuple[Path | None, Path | None]:
    """The folder of images and that of masks in a folder."""
    names = {name.lower(): root / name for name in folders(root)}
    images, masks = (next((names[one] for one in known if one in names), None) for known in (IMAGES, MASKS))
    return images, masks


def folders(root: Path) -> list[str]:
    """Names of the folders in a folder."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if is_folder(entry) and not hidden(entry.name))


def stem(path: str) -> str:
    """A relative path without its suffix, with slashes."""
    return os.path.splitext(path)[0].replace(os.sep, "/")


def is_indexed(path: Path) -> bool:
    """Whether a file may hold a class for each pixel: numbers, of which few are different, and no colours."""
    try:
        if path.suffix.lower() != ".npy":
            with Image.open(path) as image:
                if image.mode.split(";")[0] not in INDEXED:
                    return False
        return len(np.unique(read_mask(str(path)))) <= MOST_CLASSES
    except (*DECODE_ERRORS, ValueError):
        return False


def read_mask(path: str, segments: Mapping[int, str] | None = None) -> np.ndarray:
    """Numbers `(H, W)` int64 of a mask's pixels: indices, or the numbers of segments that colours stand for.

    Raises:
        ValueError: where it cannot be read, or holds colours and no numbers.
    """
    try:
        if path.lower().endswith(".npy"):
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                colours = image.mode in ("RGB", "RGBA")
                values = np.array(image.convert("RGB") if colours else image)
    except DECODE_ERRORS as error:
        raise ValueError(f"the mask {printable(path)} cannot be read: {error}") from error
    if values.ndim == 3 and values.shape[2] == 3 and segments is not None:
        return values.astype(np.int64) @ np.array([1, 256, 256**2])
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise ValueError(
            f"the mask {printable(path)} holds {values.dtype} {values.shape}, and no number of a class for each pixel: "
            "give masks of indices, with one channel"
        )
    return values.astype(np.int64)


@dataclass(frozen=True)
class MaskClasses:
    """Which class a number of a mask stands for.

    names: of classes, in their order. codes: the class of each number, or of each category where masks have them; any
    other number is an error. ignore: numbers of pixels that do not count.
    """

    names: list[str]
    codes: Mapping[Any, int]
    ignore: frozenset[int]

    def __call__(self, path: str, segments: Mapping[int, str] | None = None) -> Tensor:
        """Classes `(H, W)` int64, -1 where a pixel does not count. Raises `ValueError` for an unknown number."""
        numbers = read_mask(path, segments)
        values, places = np.unique(numbers, return_inverse=True)
        return torch.from_numpy(
            np.array([self.code(int(one), path, segments) for one in values])[places.reshape(numbers.shape)]
        )

    def code(self, value: int, path: str, segments: Mapping[int, str] | None) -> int:
        """The class of one number."""
        if segments is not None:
            if value == 0 or value not in segments:  # void, or of a segment that was taken out
                return -1
            return self.codes[segments[value]]
        if value in self.ignore:
            return -1
        if value not in self.codes:
            raise ValueError(
                f"the mask {printable(path)} holds {value}, and classes are {self.names[0]} to {self.names[-1]}: "
                "correct it, raise `classes`, or add the number to `ignore`"
            )
        return self.codes[value]


def mask_classes(
    train: Source, test: Source, column: str, classes: int, ignore: tuple[int, ...]
) -> tuple[MaskClasses, list[str]]:
    """What masks' numbers stand for, and classes that test masks have and training masks lack.

    classes: 0 to `classes` - 1 are classes, and any other number an error; 0 for those that training masks hold.
    """
    left_out = frozenset(ignore)
    if classes and "segments" not in train.metadata:
        numbers = [number for number in range(classes) if number not in left_out]
        codes = {number: place for place, number in enumerate(numbers)}
        return MaskClasses(list(map(str, numbers)), codes, left_out), []
    held = [values_of(source, column, left_out) for source in (train, test)]
    ordered = [*sorted(held[0]), *sorted(held[1] - held[0])]
    if len(held[0]) < 2:
        only = f"{ordered[0]!r} alone" if held[0] else "nothing that counts"
        raise ValueError(f"the masks of {train.name} show {only}: at least two classes are wanted")
    names = list(map(str, ordered))
    return MaskClasses(names, {one: place for place, one in enumerate(ordered)}, left_out), names[len(held[0]) :]


def values_of(source: Source, column: str, ignore: frozenset[int]) -> set[Any]:
    """All numbers, or categories, that the masks of a source hold."""
    found: set[Any] = set()
    for path, segments in mask_cells(source, column):
        if path is not None and segments is not None:
            found |= set(segments.values())
        elif path is not None:
            found |= numbers_in(path, *state_of(path))
    return found - ignore


@lru_cache(2**16)
def numbers_in(path: str, *_: int) -> frozenset[int]:
    """The numbers that a mask holds; a file in another state is read again."""
    return frozenset(np.unique(read_mask(path)).tolist())


def state_of(path: str) -> tuple[int, ...]:
    """When a file was written, and its size; () where it is not there."""
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size


def mask_cells(source: Source, column: str) -> list[tuple[str | None, Mapping[int, str] | None]]:
    """The path of each image's mask, None where it has none, and its segments, None for masks of indices."""
    if column not in source.metadata:
        raise ValueError(
            f"{source.name} has no masks: give a table with a column {column!r} of their paths, or folders of images "
            "and masks in the layout of CamVid (train, trainannot), ADE20K, Pascal VOC or COCO"
        )
    paths = [None if pd.isna(cell) or not str(cell).strip() else str(cell) for cell in source.metadata[column]]
    segments = source.metadata["segments"] if "segments" in source.metadata else [None] * len(paths)
    return list(zip(paths, segments, strict=True))
