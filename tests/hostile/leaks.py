"""Kind 3: images that are the same, and groups that belong together, on both sides of a split."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image

from hostile.case import Case, Expect, Failed, Parts, Problem, Reads, Trial, either, refused
from hostile.formats import noise, saved
from hostile.tables import as_csv, some_images
from selfsight.data import Source, splits
from selfsight.engine.images import divide
from selfsight.probes.subjects import train_and_test

TRAIN, TEST, TWICE = 48, 12, 4  # images of a part alone, and of both


@dataclass
class Sides:
    """What is learned from and what is measured on: digests of pixels, and groups."""

    learned: list[str]
    measured: list[str]
    groups: tuple[set[str], set[str]]

    @classmethod
    def of(cls, train: Source, held: Source | None, group: str | None) -> Sides:
        both = [train] if held is None else [train, held]
        contents = [[pixels_of(source, index) for index in range(len(source))] for source in both]
        groups = [{word_of(value) for value in source.metadata[group].dropna()} if group else set() for source in both]
        return cls(contents[0], contents[1] if held is not None else [], (groups[0], groups[-1] if held else set()))


def pixels_of(source: Source, index: int) -> str:
    return hashlib.sha256(source.read(index).numpy().tobytes()).hexdigest()


def word_of(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def judged(data: Any, folder: Path, *, group: str | None = None, **options: Any) -> Sides:
    """What `evaluate` learns from and tests on."""
    train, test, _ = train_and_test(splits(data, **options), group=group)
    return Sides.of(train, test, group)


def trained(data: Any, folder: Path, *, group: str | None = None, limit: int | None = None, **options: Any) -> Sides:
    """What `pretrain` trains on and holds out."""
    images = divide(data, split=None, limit=limit, label="label", seed=0, group=group, **options)
    return Sides.of(images.train, images.held_out, group)


@dataclass(frozen=True)
class Apart:
    """Nothing is on both sides.

    learned, measured: how many images are there at least. kept: whether a test part must be whole. words: of which one
    must be said where anything was left out.
    """

    learned: int = 1
    measured: int = 1
    kept: int | None = None
    words: tuple[str, ...] = ()

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        sides: Sides = outcome.value
        both = set(sides.learned) & set(sides.measured)
        if both:
            return f"{len(both)} images are on both sides"
        if sides.groups[0] & sides.groups[1]:
            return f"groups {sorted(sides.groups[0] & sides.groups[1])[:4]} are on both sides"
        if len(sides.learned) < self.learned or len(sides.measured) < self.measured:
            return f"learned from {len(sides.learned)}, measured on {len(sides.measured)}"
        if self.kept is not None and len(sides.measured) != self.kept:
            return f"the test part has {len(sides.measured)} images of {self.kept}"
        text = "\n".join(outcome.said).casefold()
        if self.words and not any(word in text for word in self.words):
            return f"says none of {self.words}"
        return None


@dataclass(frozen=True)
class Loud:
    """What is on both sides is said."""

    word: str

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        return None if any(self.word in line for line in outcome.said) else "is not said"


# How an image comes to be there twice: (original, other path).


def copied(a: Path, b: Path) -> None:
    shutil.copyfile(a, b)


def touched(a: Path, b: Path) -> None:
    copied(a, b)
    os.utime(b, (1, 1))


def linked_by_loop(a: Path, b: Path) -> None:
    """A link that leads through another folder and another link."""
    middle = b.parent / f".{b.name}.link"
    middle.symlink_to(os.path.relpath(a, b.parent))
    b.symlink_to(middle.name)


TWINS: dict[str, Callable[[Path, Path], None]] = {
    "copy": copied,
    "touched": touched,
    "hard-link": lambda a, b: os.link(a, b),
    "link": lambda a, b: b.symlink_to(a),
    "relative-link": lambda a, b: b.symlink_to(os.path.relpath(a, b.parent)),
    "link-to-link": linked_by_loop,
}
PARTS = {
    f"{first}-{second}": (first, second)
    for first, second in (
        ("train", "test"), ("training_set", "test_set"), ("Train", "Test"), ("train", "val"), ("train", "validation"),
        ("training", "dev"), ("trn", "hold-out"), ("imagesTr", "imagesTs"), ("train2017", "val2017"),
    )
}  # fmt: skip


def name_of(number: int) -> str:
    return f"{'ab'[number % 2]}/{number:03}.png"


def in_parts(twin: str, parts: str, verb: str) -> Callable[[Path, Generator], Trial]:
    """Some training images lie in the other part as well, under names of their own."""

    def build(folder: Path, rng: Generator) -> Trial:
        first, second = PARTS[parts]
        some_images(folder / first, rng, [name_of(number) for number in range(TRAIN)])
        some_images(folder / second, rng, [name_of(number) for number in range(TEST)])
        for number in range(TWICE):
            TWINS[twin](folder / first / name_of(number), folder / second / "ab"[number % 2] / f"other{number}.png")
        words = (f"{TWICE} ", f"{TWICE}:")
        if verb == "evaluate":
            return Trial(folder, Apart(TRAIN - TWICE, kept=TEST + TWICE, words=words), act=judged)
        looked = any(word in second for word in ("val", "dev"))
        return Trial(folder, Apart(TRAIN - 4, words=words if looked else ()), act=trained)

    return build


def in_one(twin: str, verb: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    """All images of one part are there twice or three times."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [name_of(number) for number in range(TRAIN)]
        root = folder / "images"
        some_images(root, rng, names)
        for name in list(names):
            for copy in range(1 + (len(name) + int(name[2:5])) % 2):
                names.append(name.replace(".png", f"-{copy}.png"))
                TWINS[twin](root / name, root / names[-1])
        data = root
        if suffix:
            data = folder / f"t{suffix}"
            rows = [["path", "label"], *([f"images/{name}", name[0]] for name in names)]
            data.write_text(as_csv(rows, separator="," if suffix == ".csv" else "\t"))
        act, options = VERBS[verb]
        return Trial(data, Apart(20, 2), options, act=act)

    return build


VERBS: dict[str, tuple[Callable[..., Sides], dict[str, Any]]] = {
    "evaluate": (judged, {}), "pretrain": (trained, {}), "pretrain-limit": (trained, {"limit": 30})
}  # fmt: skip
SPELT: dict[str, Callable[[str, Path], str]] = {
    "same": lambda name, folder: name,
    "dot": lambda name, folder: f"./{name}",
    "up": lambda name, folder: f"a/../{name}",
    "slashes": lambda name, folder: name.replace("/", "//"),
    "absolute": lambda name, folder: str(folder / name),
    "linked-folder": lambda name, folder: f"again/{name}",
    "backslash": lambda name, folder: name.replace("/", "\\"),
    "address": lambda name, folder: f"file://{folder}/{name}",
}


def listed_twice(spelt: str, verb: str, labels: str) -> Callable[[Path, Generator], Trial]:
    """A table names each file two times."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [name_of(number) for number in range(TRAIN)]
        some_images(folder, rng, names)
        (folder / "again").symlink_to(".")
        rows = [[name, name[0]] for name in names]
        again = [[SPELT[spelt](name, folder), {"same": name[0], "other": "c", "none": ""}[labels]] for name in names]
        (folder / "t.csv").write_text(as_csv([["path", "label"], *rows, *again]))
        act, options = VERBS[verb]
        apart: Expect = Apart(20, 2)
        if labels == "other":
            apart = either(apart, refused("label"))
        return Trial(folder / "t.csv", apart, options, act=act)

    return build


def across_rows(spelt: str, verb: str) -> Callable[[Path, Generator], Trial]:
    """A column `split` puts a file into both parts."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [name_of(number) for number in range(TRAIN)]
        some_images(folder, rng, names)
        (folder / "again").symlink_to(".")
        part = "test" if verb == "evaluate" else "val"
        rows = [[name, name[0], "train"] for name in names]
        rows += [[SPELT[spelt](name, folder), name[0], part] for name in names[:TWICE]]
        rows += [[name, name[0], part] for name in some_images(folder, rng, ["a/x.png", "b/y.png", "b/z.png"])]
        (folder / "t.csv").write_text(as_csv([["path", "label", "split"], *rows]))
        kept = TWICE + 3 if verb == "evaluate" else 3
        return Trial(folder / "t.csv", Apart(TRAIN - TWICE, kept=kept, words=(f"{TWICE} ",)), act=VERBS[verb][0])

    return build


# Arrays.


def in_arrays(form: str, verb: str) -> Callable[[Path, Generator], Trial]:
    """Rows of an array that are the same, in one part or in both."""

    def build(folder: Path, rng: Generator) -> Trial:
        train, test = noise(rng, (TRAIN, 6, 7, 3)), noise(rng, (TEST, 6, 7, 3))
        labels, more = np.arange(TRAIN) % 2, np.arange(TEST) % 2
        both = np.concatenate([test, train[:TWICE]]), np.concatenate([more, labels[:TWICE]])
        one = np.concatenate([train, train, train[::-1]]), np.concatenate([labels, labels, labels[::-1]])
        words = (f"{TWICE} ",) if verb == "evaluate" else ()
        parted = Apart(TRAIN - 4, kept=TEST + TWICE if verb == "evaluate" else None, words=words)
        data: Any
        if form == "npz-parts":
            data = folder / "t.npz"
            np.savez(data, train_images=train, train_labels=labels, test_images=both[0], test_labels=both[1])
        elif form == "pairs":
            data = ((train, labels), both)
        elif form == "npz":
            data, parted = folder / "t.npz", Apart(20, 2)
            np.savez(data, images=one[0], labels=one[1])
        elif form == "npy-files":
            data, parted = folder, Apart(20, 2)
            for number, (image, label) in enumerate(zip(*one, strict=True)):
                (folder / "ab"[label]).mkdir(exist_ok=True)
                np.save(folder / "ab"[label] / f"{number}.npy", image)
        elif form == "pillow":
            data = [(Image.fromarray(image), int(label)) for image, label in zip(*one, strict=True)]
            parted = Apart(20, 2)
        else:
            data, parted = one, Apart(20, 2)
        return Trial(data, parted, act=VERBS[verb][0])

    return build


# Groups.

GROUPS: dict[str, Callable[[int], Any]] = {
    "words": lambda n: f"patient {n // 3}",
    "numbers": lambda n: n // 3,
    "points": lambda n: f"{n // 3}.0" if n % 2 else str(n // 3),
    "zeros-before": lambda n: f"{n // 3:04}",
    "some-empty": lambda n: "" if n % 7 == 0 else f"p{n // 3}",
    "one-large": lambda n: "big" if n < 30 else f"p{n // 3}",
    "two": lambda n: "left" if n % 2 else "right",
    "one": lambda n: "all",
    "own": lambda n: f"p{n}",
    "all-empty": lambda n: "",
    "spaces": lambda n: f" p{n // 3} " if n % 2 else f"p{n // 3}",
    "scripts": lambda n: f"病人{n // 3}",
}


def grouped(values: str, layout: str, verb: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        names = [name_of(number) for number in range(TRAIN + TEST)]
        some_images(folder, rng, names)
        rows = [["path", "label", "patient"], *([name, name[0], GROUPS[values](n)] for n, name in enumerate(names))]
        if layout == "parts":  # every fifth is of the other part, so that groups are in both
            other = "test" if verb == "evaluate" else "val"
            rows = [[*row, "split" if n == 0 else other if n % 5 == 0 else "train"] for n, row in enumerate(rows)]
        (folder / "t.csv").write_text(as_csv(rows))
        apart: Expect = Apart(20, 2)
        if layout == "parts":  # none may be left that shares no group: the monitor says so
            apart = either(Apart(1, 1), Loud("no generalisation"))
        if values in ("one", "all-empty", "two", "one-large"):  # cannot be kept apart, or hardly
            apart = either(Apart(1, 0), refused("group", "patient"), Loud("no generalisation"))
        return Trial(folder / "t.csv", apart, {"group": "patient"}, act=VERBS[verb][0])

    return build


WRONG_GROUPS = {"missing": "patiant", "label": "label", "path": "path", "empty": "", "capitals": "PATIENT"}


def wrong_group(name: str, verb: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        names = [name_of(number) for number in range(TRAIN)]
        some_images(folder, rng, names)
        rows = [["path", "label", "patient"], *([name, name[0], n // 3] for n, name in enumerate(names))]
        (folder / "t.csv").write_text(as_csv(rows))
        return Trial(folder / "t.csv", refused("group"), {"group": WRONG_GROUPS[name]}, act=VERBS[verb][0])

    return build


# Folders that are parts, or may be.

PAIRS = [
    *((first, second)
      for first in ("train", "Training", "TRAINING_SET", "train_images", "train-data", "trn", "Train Set")
      for second in ("test", "TEST_SET", "testing", "val", "dev", "Validation", "hold_out", "eval", "test-images")),
    ("train", "test1"), ("train_1", "test_1"), ("trainA", "testA"), ("train_clean", "test_clean"),
    ("train", "test.old"), ("images_train", "images_test"), ("fold_train", "fold_test"), ("x_train", "x_test"),
    ("my train", "my test"),
]  # fmt: skip


def in_folders(first: str, second: str, classes: bool) -> Callable[[Path, Generator], Trial]:
    """Two folders of parts: told apart, or refused; never one set of two classes."""

    def build(folder: Path, rng: Generator) -> Trial:
        answers = {}
        for part in (first, second):
            names = [f"{part}/{f'{letter}/' if classes else ''}{number}.png" for number in range(2) for letter in "ab"]
            answers[part] = some_images(folder, rng, list(dict.fromkeys(names)))
        reads = {part: Reads(answers[part], None, ["a", "b"] if classes else None) for part in answers}
        expects = [Parts({"train": reads[first], other: reads[second]}) for other in ("val", "test")]
        return Trial(folder, either(*expects, refused("parts", "split", "names of its part")))

    return build


def nested(kind: str) -> Callable[[Path, Generator], Trial]:
    """Parts that lie below the folders of classes, or below another folder."""

    def build(folder: Path, rng: Generator) -> Trial:
        below = {
            "classes-first": ["a/train/1.png", "a/test/2.png", "b/train/3.png", "b/test/4.png"],
            "data-folder": ["data/train/a/1.png", "data/train/b/2.png", "data/test/a/3.png", "data/test/b/4.png"],
            "images-folder": ["images/train/1.png", "images/test/2.png", "more/3.png"],
            "two-trains": ["train/1.png", "training/2.png", "test/3.png"],
        }[kind]
        some_images(folder, rng, below)
        return Trial(folder, refused("part"))

    return build


def same_archive(layout: str) -> Callable[[Path, Generator], Trial]:
    """Both parts are the very same images."""

    def build(folder: Path, rng: Generator) -> Trial:
        if layout == "linked-folder":
            some_images(folder / "train", rng, [name_of(number) for number in range(TRAIN)])
            (folder / "test").symlink_to("train")
        else:
            array = noise(rng, (1, 5, 5, 3))
            for part in ("train", "test"):
                for letter in "ab":
                    (folder / part / letter).mkdir(parents=True)
                    (folder / part / letter / "0.png").write_bytes(saved(Image.fromarray(array[0]), "PNG"))
        return Trial(folder, either(refused("equal"), Loud("equal")), act=judged)

    return build


def cases() -> Iterator[Case]:
    for verb in ("evaluate", "pretrain"):
        for twin in TWINS:
            for parts in PARTS:
                yield Case(f"leaks/parts/{twin}/{parts}/{verb}", 3, in_parts(twin, parts, verb))
    for verb in VERBS:
        for twin in TWINS:
            for suffix in ("", ".csv"):
                yield Case(f"leaks/one/{twin}/{suffix or 'folder'}/{verb}", 3, in_one(twin, verb, suffix))
        for spelt in SPELT:
            for labels in ("same", "other", "none"):
                yield Case(f"leaks/listed/{spelt}/{labels}/{verb}", 3, listed_twice(spelt, verb, labels))
    for verb in ("evaluate", "pretrain"):
        for spelt in SPELT:
            yield Case(f"leaks/rows/{spelt}/{verb}", 3, across_rows(spelt, verb))
        for form in ("npz-parts", "pairs", "npz", "npy-files", "pillow", "pair"):
            yield Case(f"leaks/arrays/{form}/{verb}", 3, in_arrays(form, verb))
        for values in GROUPS:
            for layout in ("one", "parts"):
                yield Case(f"leaks/groups/{values}/{layout}/{verb}", 3, grouped(values, layout, verb))
        for name in WRONG_GROUPS:
            yield Case(f"leaks/wrong-group/{name}/{verb}", 3, wrong_group(name, verb))
    for first, second in PAIRS:
        for classes in (False, True):
            name = f"leaks/folders/{first}-{second}/{'classes' if classes else 'plain'}"
            yield Case(name, 3, in_folders(first, second, classes))
    for kind in ("classes-first", "data-folder", "images-folder", "two-trains"):
        yield Case(f"leaks/nested/{kind}", 3, nested(kind))
    for layout in ("linked-folder", "one-image-a-class"):
        yield Case(f"leaks/all/{layout}", 3, same_archive(layout))
