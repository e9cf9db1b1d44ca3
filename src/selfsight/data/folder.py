"""A folder of images, with or without classes and splits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from selfsight.data.files import SUFFIXES, FileSource

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class FolderSource(FileSource):
    """The images below a folder, in the order of their paths.

    The first folder below `root` is an image's class, and images beside the class folders have
    none; with fewer than two such folders there are no labels. Hidden files are left out.
    `classes` fixes names and codes, so that splits agree.
    """

    def __init__(self, root: str | Path, *, channels: int | None = None, classes: list[str] | None = None):
        root = Path(root)
        found = find_images(root)
        if not found:
            raise ValueError(f"no images in {root}: expected files ending in {', '.join(SUFFIXES)}")
        paths = [str(root / path) for path in found]
        columns: dict[str, list[str] | np.ndarray] = {"path": paths}
        tops = top_folders(found)
        names = sorted(set(tops) - {""}) if classes is None else classes
        labelled = len(names) > 1 and any(tops)
        if labelled:
            code = {name: number for number, name in enumerate(names)}
            columns["label"] = np.array([code.get(top, -1) for top in tops], dtype=np.int64)
        super().__init__(
            paths,
            pd.DataFrame(columns),
            name=str(root),
            channels=channels,
            classes=names if labelled else None,
        )


def find_images(root: Path) -> list[str]:
    """Sorted paths of image files, relative to `root`; links are followed, once."""
    found, seen = [], set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not _hidden(name))
        inside = os.path.relpath(folder, root)
        found += [
            os.path.normpath(os.path.join(inside, name))
            for name in files
            if name.lower().endswith(SUFFIXES) and not _hidden(name)
        ]
    return sorted(found)


def top_folders(paths: list[str]) -> list[str]:
    """The first folder of each relative path, "" where there is none."""
    return [path.split(os.sep, 1)[0] if os.sep in path else "" for path in paths]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def split_folders(root: Path) -> dict[str, Path]:
    """Folders `train`, `val`, `test` (or their longer names) of `root`.

    None unless `train` has one of the others beside it, or is alone: among other folders it is a class.
    """
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not _hidden(entry.name)]
    found = {SPLITS[folder.name.lower()]: folder for folder in folders if folder.name.lower() in SPLITS}
    return found if "train" in found and (len(found) > 1 or len(folders) == 1) else {}


def folder_splits(root: str | Path, channels: int | None = None) -> dict[str, FolderSource]:
    """The splits of a folder, or "all" of it; their class codes and channels are the same."""
    root = Path(root)
    folders = split_folders(root)
    if not folders:
        return {"all": FolderSource(root, channels=channels)}
    classes = sorted({top for folder in folders.values() for top in top_folders(find_images(folder)) if top})
    sources = {}
    for split in sorted(folders, key=("train", "val", "test").index):
        sources[split] = FolderSource(folders[split], channels=channels, classes=classes)
        channels = sources["train"].channels
    return sources
