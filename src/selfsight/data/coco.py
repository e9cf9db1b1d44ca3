"""Objects in images as COCO writes them: boxes, categories, masks as polygons or runs."""

from __future__ import annotations

import json
import os
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.data.masks import state_of
from selfsight.data.sources import Source
from selfsight.naming import listed, printable

NEEDED = ("images", "annotations", "categories")
OTHERS = ("captions", "person_keypoints", "panoptic", "stuff")  # of COCO's annotations, which hold no boxes of all


@dataclass(frozen=True)
class Objects:
    """What is annotated in one image.

    boxes: `(M, 4)`, left, top, right and bottom in pixels. names: category of each. crowd: `(M,)`, whether it stands
    for many, which is nothing to learn and no error to find. areas: `(M,)` in pixels. segments: polygons or runs of
    each, None where it has a box alone.
    """

    boxes: Tensor
    names: list[str]
    crowd: Tensor
    areas: Tensor
    segments: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def masked(self) -> bool:
        """Whether all have a mask."""
        return all(segment is not None for segment in self.segments)


def find_annotations(source: Source) -> Path:
    """The JSON of the images in a folder: `annotations/instances_train2017.json` of those in `train2017`, or the only
    other one there that names the folder, or one beside the images, such as `_annotations.coco.json`.

    Raises:
        ValueError: where there is none, or several.
    """
    paths = [str(path) for path in source.metadata["path"]] if "path" in source.metadata else []
    folder = Path(os.path.commonpath([os.path.dirname(path) for path in paths])) if paths else Path()
    beside = sorted(folder.glob("*.json")) if paths else []
    roots = [root / "annotations" for root in (folder.parent, folder.parent.parent)]
    above = [file for root in roots for file in sorted(root.glob("*.json"))]
    own = [file for file in above if file.stem == f"instances_{folder.name}"]
    named = [file for file in above if folder.name in file.stem and not file.stem.startswith(OTHERS)]
    for found in (own, beside, named):
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise ValueError(
                f"there are several annotations of {source.name}, {listed([file.name for file in found])}: name one "
                "for training and one for test images in detection.annotations"
            )
    raise ValueError(
        f"{source.name} has no annotations: COCO's are annotations/instances_{folder.name or 'train'}.json beside the "
        "folder of images, or one JSON among them; detection.annotations names others"
    )


def objects_of(source: Source, file: Path) -> tuple[list[Objects | None], int]:
    """The objects in each image, None for an image that the JSON does not list, and how many boxes of the JSON have no
    area and are left out."""
    if "path" not in source.metadata:
        raise ValueError(
            f"annotations name files, and {source.name} is none: give a folder of images, or a table of paths"
        )
    found, flat = read_objects(str(file), *state_of(str(file)))
    paths = [str(path).replace(os.sep, "/") for path in source.metadata["path"]]
    answers = [next((found[end] for end in ends(path) if end in found), None) for path in paths]
    if not any(answer is not None for answer in answers):
        raise ValueError(f"{printable(file)} lists none of the images of {source.name}, such as {printable(paths[0])}")
    return answers, flat


def ends(path: str) -> list[str]:
    """A path without its first folders, the shortest last."""
    parts = path.strip("/").split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


@lru_cache(4)
def read_objects(file: str, *_: int) -> tuple[Mapping[str, Objects], int]:
    """Objects by the name of the image's file, and how many boxes have no area.

    Raises:
        ValueError: for what is not in COCO's form.
    """
    shown = printable(file)
    try:
        content = json.loads(Path(file).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{shown} cannot be read as JSON: {error}") from error
    missing = [name for name in NEEDED if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if missing:
        raise ValueError(f"{shown} is not in COCO's form: it has no list of {' and '.join(missing)}")
    try:
        names = {one["id"]: str(one.get("name", one["id"])) for one in content["categories"]}
        files = {one["id"]: str(one["file_name"]) for one in content["images"]}
        shapes = {one["id"]: (one.get("width"), one.get("height")) for one in content["images"]}
        rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        flat = 0
        for one in content["annotations"]:
            x, y, width, height = map(float, one["bbox"])
            name, image = names[one["category_id"]], one["image_id"]
            side_x, side_y = shapes[image]
            left, top, right, bottom = max(0.0, x), max(0.0, y), x + width, y + height
            right, bottom = min(right, side_x or right), min(bottom, side_y or bottom)
            if not (right > left and bottom > top):
                flat += 1
                continue
            segment = one.get("segmentation") or None
            rows[image].append(
                {
                    "box": [left, top, right, bottom],
                    "name": name,
                    "crowd": bool(one.get("iscrowd", 0)),
                    "area": float(one.get("area", width * height)),
                    "segment": segment,
                }
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{shown} is not in COCO's form: {error!r} in one of its entries") from error
    return {files[image]: gathered(rows[image]) for image in files}, flat


def gathered(rows: Sequence[Mapping[str, Any]]) -> Objects:
    """The objects of one image."""
    return Objects(
        torch.tensor([row["box"] for row in rows], dtype=torch.float32).view(-1, 4),
        [row["name"] for row in rows],
        torch.tensor([row["crowd"] for row in rows], dtype=torch.bool),
        torch.tensor([row["area"] for row in rows], dtype=torch.float64),
        [row["segment"] for row in rows],
    )


def masks_of(segments: Sequence[Any], height: int, width: int) -> Tensor:
    """Masks `(M, H, W)` uint8 of polygons or runs."""
    runs = [as_runs(segment, height, width) for segment in segments]
    from pycocotools import mask

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2 at pycocotools' arrays
        found = [mask.decode(one) for one in runs]
    return torch.from_numpy(np.stack(found)) if found else torch.zeros(0, height, width, dtype=torch.uint8)


def as_runs(segment: Any, height: int, width: int) -> Any:
    """Compressed runs of one object's polygons or runs, as pycocotools takes them."""
    from pycocotools import mask

    if isinstance(segment, list):
        return mask.merge(mask.frPyObjects(segment, height, width))
    if isinstance(segment["counts"], list):
        return mask.frPyObjects(segment, height, width)
    return segment


def coco_form(
    objects: Sequence[Objects], shapes: Sequence[tuple[int, ...]], names: list[str], masked: bool
) -> dict[str, Any]:
    """Objects in COCO's form, images and categories numbered from 1."""
    annotations = []
    for image, (some, (height, width)) in enumerate(zip(objects, shapes, strict=True), 1):
        for place, name in enumerate(some.names):
            left, top, right, bottom = some.boxes[place].tolist()
            one = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": names.index(name) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": float(some.areas[place]),
                "iscrowd": int(some.crowd[place]),
            }
            if masked:
                one["segmentation"] = as_runs(some.segments[place], height, width)
            annotations.append(one)
    return {
        "info": {},
        "images": [{"id": number, "height": h, "width": w} for number, (h, w) in enumerate(shapes, 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "annotations": annotations,
    }
