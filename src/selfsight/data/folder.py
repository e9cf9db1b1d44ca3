"""A folder of images, with or without classes and splits."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from selfsight.data.files import EXPECTED, SUFFIXES, FileSource
from selfsight.data.labels import NO_LABEL, Labels, sorted_names, with_labels
from selfsight.data.parts import part_folders, part_of
from selfsight.data.sources import Source
from selfsight.naming import RUN_MARKER, listed, printable

log = logging.getLogger(__name__)

FEW = 16
SYSTEM = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini"}


class FolderSource(FileSource):
    """The images below a folder, in the order of their paths.

    The first folder below `root` is an image's class, and images beside the class folders, or in one called -1,
    have none; with fewer than two such folders there are no labels. Hidden files and whatever lies in the folder
    of a run are left out, and what is left out is counted in the log. `classes` fixes names and codes, so that
    splits agree.
    """

    def __init__(self, root: str | Path, *, channels: int | None = None, classes: list[str] | None = None):
        root = Path(root)
        found = scan(root)
        if not found.images:
            left_out = f"; left out {found.left_out()}" if found.left_out() else ""
            raise ValueError(f"no images in {printable(root)}: expected files ending in {EXPECTED}{left_out}")
        if found.left_out():
            log.warning("%s: left out %s", printable(root), found.left_out())
        paths = [str(root / path) for path in found.images]
        self.folders = [printable(top) for top in top_folders(found.images)]
        self.deeper = sum(path.count(os.sep) > 1 for path in found.images)
        metadata = pd.DataFrame({"path": paths}, dtype=object)  # names of files may be any bytes, which str is not
        super().__init__(paths, metadata, name=printable(root), channels=channels)
        names = set(self.folders) - {""} if classes is None else classes
        if len(names) > 1 and any(self.folders):
            labels = read_labels_of_folders(self.folders, classes)
            self.metadata["label"], self.classes = labels.column, labels.classes

    def by_folder(self) -> Source:
        """The source with a label for each image in a folder, even where there is but one folder."""
        return with_labels(self, read_labels_of_folders(self.folders))


def read_labels_of_folders(folders: list[str], classes: list[str] | None = None) -> Labels:
    """Codes of the folders' names as they are, in the order of `classes` where they are given."""
    if classes is None:
        classes = sorted_names(set(folders) - {"", str(NO_LABEL)})
    code = {name: number for number, name in enumerate(classes)}
    return Labels(np.array([code.get(folder, NO_LABEL) for folder in folders], dtype=np.int64), list(classes))


@dataclass
class Scan:
    """What lies below a folder.

    images: sorted paths relative to it. suffixes: how many files of other kinds there are; hidden, special: how
    many hidden files or folders, and how many that are no files (pipes, devices, broken links). runs: folders of
    runs. empty, closed: folders without anything, and those that cannot be listed.
    """

    images: list[str] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    special: int = 0
    runs: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def left_out(self) -> str:
        """What is not read, with counts; "" where there is nothing."""
        counts = sorted(self.suffixes.items(), key=lambda one: (-one[1], not one[0], one[0]))
        kinds = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in counts]
        parts = [listed(kinds)] if kinds else []
        parts += [f"{self.hidden:,} hidden"] if self.hidden else []
        parts += [f"{self.special:,} that are no files (links to nothing, pipes, devices)"] if self.special else []
        for folders, what in (
            (self.runs, "of runs"),
            (self.empty, "without files"),
            (self.closed, "that cannot be listed"),
        ):
            if folders:
                names = listed([repr(printable(folder)) for folder in sorted(folders)], 3)
                parts.append(f"{len(folders):,} folder{'s' * (len(folders) > 1)} {what} ({names})")
        return ", ".join(parts)


def scan(root: Path) -> Scan:
    """Look through a folder and those below it; links are followed, once.

    Raises:
        ValueError: where `root` is a run's folder.
    """
    if (root / RUN_MARKER).is_file():
        raise ValueError(f"{printable(root)} is the folder of a run ({RUN_MARKER} lies in it), and no data")
    found, seen, waiting = Scan(), set(), [""]
    while waiting:
        inside = waiting.pop()
        real = os.path.realpath(root / inside)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(root / inside) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            found.closed.append(inside or ".")
            continue
        if inside and any(entry.name == RUN_MARKER for entry in here):
            found.runs.append(inside)
            continue
        if inside and not here:
            found.empty.append(inside)
        for entry in here:
            path = os.path.join(inside, entry.name)
            if hidden(entry.name):
                found.hidden += 1
            elif is_folder(entry):
                waiting.append(path)
            elif not is_regular(entry):
                found.special += 1
            elif entry.name.lower().endswith(SUFFIXES):
                found.images.append(path)
            else:
                found.suffixes[printable(os.path.splitext(entry.name)[1].lower())] += 1
    found.images.sort()
    return found


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_regular(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, and no pipe, socket, device or link to nothing."""
    try:
        return entry.is_file()
    except OSError:
        return False


def top_folders(paths: list[str]) -> list[str]:
    """The first folder of each relative path, "" where there is none."""
    return [path.split(os.sep, 1)[0] if os.sep in path else "" for path in paths]


def hidden(name: str) -> bool:
    """Whether a name is that of a hidden file, or of a folder of a system's own."""
    return name.startswith(".") or name.lower() in SYSTEM


def folder_splits(root: str | Path, channels: int | None = None) -> dict[str, FolderSource]:
    """The parts that folders below `root` are (`part_folders`), or "all" of it, of the same channels."""
    root = Path(root)
    tops = [entry.name for entry in sorted(root.iterdir()) if entry.is_dir() and not hidden(entry.name)]
    parts = part_folders(tops, printable(root))
    if not parts:
        check_parts_inside(root, tops)
        return {"all": FolderSource(root, channels=channels)}
    folders = {part: root / name for part, name in parts.items()}
    renamed = [f"{printable(name)} is {part}" for part, name in parts.items() if name != part]
    if renamed:
        log.info("%s: %s", printable(root), ", ".join(renamed))
    beside = [name for name in sorted(os.listdir(root)) if root / name not in folders.values() and not hidden(name)]
    if beside:
        names = listed([repr(printable(name)) for name in beside], 3)
        log.warning("%s: left out what lies beside the splits %s: %s", printable(root), ", ".join(folders), names)
    sources = {}
    for part, folder in folders.items():
        sources[part] = FolderSource(folder, channels=channels)
        channels = next(iter(sources.values())).channels
    return sources


def check_parts_inside(root: Path, tops: list[str]) -> None:
    """Refuse folders in each of which lie a training part and others: they would be mixed."""
    for top in tops[:FEW]:
        with contextlib.suppress(OSError):  # a folder that cannot be listed is said where it is scanned
            inside = [entry.name for entry in os.scandir(root / top) if is_folder(entry)]
            parts = {part_of(name) for name in inside} - {None}
            if "train" in parts and len(parts) > 1:
                raise ValueError(
                    f"{printable(root)} has the parts {' and '.join(sorted(map(str, parts)))} inside its folder "
                    f"{printable(top)!r}, and training and test images would be mixed: give {printable(root / top)}, "
                    "or put the folders of classes into those of parts"
                )
