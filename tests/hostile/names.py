"""Kind 4: names of any sort, what is no file, what is left out, and words that look like something else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image

import selfsight
from hostile.case import BAD, Case, Expect, Failed, OneOf, Problem, Reads, Trial, either, one_of, refused, said
from hostile.formats import first, noise, saved
from hostile.tables import some_images
from selfsight import arguments
from selfsight.data.files import NO_IMAGES
from selfsight.naming import RUN_MARKER, printable

NAMES = {
    "space": "a b", "spaces-around": " a ", "quote": 'a"b', "apostrophe": "it's", "comma": "a,b", "semicolon": "a;b",
    "newline": "a\nb", "return": "a\rb", "dos-line": "a\r\nb", "tab": "a\tb", "escape": "a\x1b[31mb", "bell": "a\x07b",
    "backslash": "a\\b", "backslash-n": "a\\nb", "percent": "100%", "percent-s": "%s%d", "percent-20": "a%20b",
    "braces": "{a}", "brackets": "[a]", "star": "*", "question": "what?", "dollar": "$HOME", "backtick": "`ls`",
    "pipe": "a|b", "ampersand": "a&b", "less": "<b>", "hash": "#1", "at": "@a", "bang": "!a", "equals": "a=b",
    "tilde": "~a", "plus": "+a", "dash": "-a", "double-dash": "--help", "colon": "a: b", "caret": "^a$",
    "number": "2024", "exponent": "1e3", "zeros": "007", "hexadecimal": "0x10", "infinity": "inf", "nan": "nan",
    "null": "null", "none": "None", "true": "true", "no": "no", "date": "2024-01-01", "minus-one": "-1.5",
    "yaml-list": "- a", "yaml-map": "{a: 1}", "yaml-anchor": "&a", "yaml-tag": "!!str", "digits": "digits",
    "composed": "caf\u00e9", "apart": "cafe\u0301", "chinese": "猫", "arabic": "قطة", "hebrew": "חתול", "thai": "แมว",
    "emoji": "🐱", "family": "👨‍👩‍👧", "right-to-left": "\u202eabc", "no-width": "a\u200bb",
    "mark": "\ufeffa", "line-separator": "a\u2028b", "no-break": "a\u00a0b", "full-width": "１２",
    "bytes-latin": "caf\udce9", "bytes-shift-jis": "\udc94L", "bytes-half": "a\udcc3", "long": "x" * 240,
    "bytes-all": "\udc80\udcff\udcfe", "long-script": "猫" * 80, "dots": "a.b.c", "dot-at-end": "a.",
    "two-suffixes": "a.tar", "capital": "A", "con": "CON", "train": "train", "test": "test", "runs": "runs",
}  # fmt: skip


def named_file(name: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    """A file of an odd name, in the folder itself and in one of a class."""

    def build(folder: Path, rng: Generator) -> Trial:
        files = [f"{place}{NAMES[name]}{suffix}" for place in ("", "a/", "b/")]
        if suffix == ".npy":
            return Trial(folder, Reads({file: stored(folder, file, noise(rng, (5, 4))) for file in files}))
        answers = some_images(folder, rng, files)
        return Trial(folder, Reads(answers, dict(zip(files, (None, "a", "b"), strict=True)), ["a", "b"]))

    return build


def stored(folder: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Write a `.npy` under a name of any bytes; answers its pixels."""
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        np.save(file, array)
    return first(array)


def named_class(name: str) -> Callable[[Path, Generator], Trial]:
    """A class folder of an odd name beside a plain one; its class is that name, for people."""

    def build(folder: Path, rng: Generator) -> Trial:
        odd = NAMES[name]
        files = [f"{odd}/1.png", f"{odd}/2.png", "zz/3.png"]
        answers = some_images(folder, rng, files)
        shown = one_of(odd, printable(odd))
        reads: Expect = Reads(answers, {files[0]: shown, files[1]: shown, files[2]: "zz"})
        # a folder that is called train or test may be a part, which needs another one
        return Trial(folder, either(reads, refused("part")) if name in ("train", "test") else reads)

    return build


TWINS = {
    "space-before": ("a", " a"), "space-behind": ("a", "a "), "no-break-space": ("a", "a\u00a0"),
    "space-alone": ("a", " "), "capital": ("a", "A"), "composed": ("\u00e9", "e\u0301"), "zero-before": ("1", "01"),
    "point": ("1", "1.0"), "full-width": ("1", "１"), "minus-one": ("0", "-1.0"), "hidden-sign": ("a", "a\u200b"),
    "quoted": ("a", "'a'"),
}  # fmt: skip


def twin_classes(name: str) -> Callable[[Path, Generator], Trial]:
    """Two class folders whose names look alike are two classes."""

    def build(folder: Path, rng: Generator) -> Trial:
        first, second = TWINS[name]
        answers = some_images(folder, rng, [f"{first}/1.png", f"{second}/2.png", f"{first}/3.png"])
        labels = {f"{first}/1.png": first, f"{second}/2.png": second, f"{first}/3.png": first}
        return Trial(folder, Reads(answers, labels))

    return build


def named_root(name: str) -> Callable[[Path, Generator], Trial]:
    """The folder of the data has an odd name, and is given by that name alone."""

    def act(data: str, folder: Path) -> Any:
        from hostile.trying import read_all

        os.chdir(folder)
        return {part: len(source.images) for part, source in read_all(data, folder).items()}

    def build(folder: Path, rng: Generator) -> Trial:
        some_images(folder, rng, [f"{NAMES[name]}/{number}.png" for number in range(3)])
        if name == "digits":  # scikit-learn's, and it is said
            return Trial("digits", said("./digits"), act=act)
        return Trial(NAMES[name], Gives({"all": 3}), act=act)

    return build


@dataclass(frozen=True)
class Gives:
    """A certain answer."""

    value: Any

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        return None if outcome.value == self.value else f"answers {outcome.value!r}, must be {self.value!r}"


# What embed writes of them.


def embedded(data: Any, folder: Path, *, suffix: str, **options: Any) -> dict[str, list[Any]]:
    """The columns of the file that `embed` writes."""
    out = selfsight.embed("resnet_slim", data, out=f"features{suffix}", image_size=8, workers=0, **options)
    if suffix == ".parquet":
        return pd.read_parquet(out).to_dict("list")
    with np.load(out) as archive:
        return {name: archive[name].tolist() for name in archive.files}


@dataclass(frozen=True)
class Columns:
    """Columns of a file that was written."""

    columns: dict[str, list[Any]]

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        for name, wanted in self.columns.items():
            found = outcome.value.get(name)
            same = found is not None and len(found) == len(wanted)
            if not same or not all(
                one in (want.answers if isinstance(want, OneOf) else (want,))
                for one, want in zip(found, wanted, strict=True)
            ):
                return f"column {name!r} is {found!r}, must be {wanted!r}; there are {list(outcome.value)}"
        return None


def written_names(name: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        odd = NAMES[name]
        files = [f"a/{odd}.png", f"{odd}/1.png", f"{odd}/2.png"]
        some_images(folder, rng, files)
        order = sorted(files)
        paths = [one_of(str(folder / file), printable(folder / file)) for file in order]
        labels = [one_of(file.split("/")[0], printable(file.split("/")[0])) for file in order]
        columns = Columns({"path": paths, "class": labels})
        right: Expect = either(columns, refused("part")) if name in ("train", "test") else columns
        return Trial(folder, right, {"suffix": suffix}, act=embedded)

    return build


# What is no file, or no image.


def nothing(folder: Path, rng: Generator) -> None:
    pass


def fill(folder: Path, names: list[str], contents: bytes = b"text") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)


def sockets(folder: Path, rng: Generator) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = os.getcwd()
        os.chdir(folder)  # an address of a socket is short
        made.bind("s.png")
        os.chdir(before)


def run_inside(folder: Path, rng: Generator) -> None:
    fill(folder, [f"runs/simclr-1/{RUN_MARKER}"], b"{}")
    some_images(folder / "runs/simclr-1", rng, ["views.png", "gallery/1.png"])


def linked_run(folder: Path, rng: Generator) -> None:
    run_inside(folder, rng)
    (folder / "latest").symlink_to("runs/simclr-1")


# (what lies beside the images, words that must be said, images that are read as well)
BESIDE: dict[str, tuple[Callable[[Path, Generator], None], tuple[str, ...], dict[str, Any]]] = {
    "texts": (lambda f, r: fill(f, ["1.txt", "2.txt", "c/3.TXT"]), ("3 .txt",), {}),
    "no-suffix": (lambda f, r: fill(f, ["README", "LICENSE"]), ("2 without a suffix",), {}),
    "many-suffixes": (lambda f, r: fill(f, [f"1.{s}" for s in ("xml", "json", "md", "pdf")]), ("1 .xml",), {}),
    "videos": (lambda f, r: fill(f, ["1.mp4", "2.avi", "2.mov"]), ("1 .mp4",), {}),
    "raw-photos": (lambda f, r: fill(f, ["1.heic", "2.dng", "3.cr2"]), ("1 .cr2",), {}),
    "volumes": (lambda f, r: fill(f, ["1.nii", "2.nii.gz", "3.dcm"]), ("1 .dcm",), {}),
    "packed": (lambda f, r: fill(f, ["1.zip", "2.tar"]), ("1 .zip",), {}),
    "eps": (lambda f, r: fill(f, ["1.eps", "2.pdf", "3.wmf"]), ("1 .eps",), {}),
    "hidden-file": (lambda f, r: fill(f, [".1.png", "a/._2.png"]), ("2 hidden",), {}),
    "hidden-folder": (lambda f, r: fill(f, [".thumbs/1.png"]), ("1 hidden",), {}),
    "system": (
        lambda f, r: fill(f, ["__MACOSX/a/._1.png", "Thumbs.db", "desktop.ini", ".DS_Store"]),
        ("4 hidden",),
        {},
    ),
    "checkpoints": (lambda f, r: fill(f, [".ipynb_checkpoints/1.png"]), ("1 hidden",), {}),
    "pipe": (lambda f, r: os.mkfifo(f / "pipe.png"), ("1 that are no files",), {}),
    "pipe-no-suffix": (lambda f, r: os.mkfifo(f / "pipe"), ("1 that are no files",), {}),
    "device": (lambda f, r: (f / "zero.png").symlink_to("/dev/zero"), ("1 that are no files",), {}),
    "terminal": (lambda f, r: (f / "tty.png").symlink_to("/dev/tty"), ("1 that are no files",), {}),
    "socket": (sockets, ("1 that are no files",), {}),
    "broken-link": (lambda f, r: (f / "gone.png").symlink_to("nowhere.png"), ("1 that are no files",), {}),
    "link-to-itself": (lambda f, r: (f / "loop.png").symlink_to("loop.png"), ("1 that are no files",), {}),
    "links-in-a-ring": (
        lambda f, r: ((f / "x.png").symlink_to("y.png"), (f / "y.png").symlink_to("x.png")),
        ("2 that are no files",),
        {},
    ),
    "folder-up": (lambda f, r: (f / "a/up").symlink_to(".."), (), {}),
    "folder-here": (lambda f, r: (f / "c").symlink_to("."), (), {}),
    "folder-beside": (lambda f, r: (f / "a/b").symlink_to("../b"), (), {}),
    "folder-as-image": (lambda f, r: (f / "d.png").mkdir(), ("1 folder without files",), {}),
    "empty-folder": (lambda f, r: (f / "c").mkdir(), ("1 folder without files",), {}),
    "empty-folders": (lambda f, r: [(f / f"c{n}").mkdir() for n in range(9)], ("9 folders without files",), {}),
    "run": (run_inside, ("1 folder of runs",), {}),
    "run-linked": (linked_run, ("folders of runs", "folder of runs"), {}),
    "empty-image": (lambda f, r: fill(f, ["c/1.png"], b""), (), {"c/1.png": BAD}),
    "text-as-image": (lambda f, r: fill(f, ["a/3.png"]), (), {"a/3.png": BAD}),
    "double-suffix": (lambda f, r: fill(f, ["1.png.txt", "2.jpg.part", "3.png~"]), ("1 .txt",), {}),
    "deep": (lambda f, r: fill(f, ["/".join(["d"] * 60) + "/1.txt"]), ("1 .txt",), {}),
    "number-suffixes": (lambda f, r: fill(f, ["scan.001", "scan.002"]), ("1 .001",), {}),
    "odd-suffix": (lambda f, r: fill(f, ["a.b c", "d.\n"]), ("left out",), {}),
    "table": (lambda f, r: fill(f, ["labels.csv", "meta.parquet"]), ("1 .csv",), {}),
}


def beside(name: str, classes: bool) -> Callable[[Path, Generator], Trial]:
    make, words, more = BESIDE[name]

    def build(folder: Path, rng: Generator) -> Trial:
        (folder / "a").mkdir()
        answers = some_images(
            folder, rng, ["a/1.png", "a/2.png", "b/1.png"] if classes else ["1.png", "a/2.png", "b/3.png"]
        )
        make(folder, rng)
        return Trial(folder, Reads(answers | more, said=words))

    return build


def only(name: str) -> Callable[[Path, Generator], Trial]:
    """Nothing else lies in the folder: refused, with what was left out."""
    make, words, _ = BESIDE[name]

    def build(folder: Path, rng: Generator) -> Trial:
        (folder / "a").mkdir()
        (folder / "b").mkdir()
        make(folder, rng)
        return Trial(folder, refused(*words, "without files") if words else refused())

    return build


def single(what: str) -> Callable[[Path, Generator], Trial]:
    """What is no folder of images is given as one."""

    def build(folder: Path, rng: Generator) -> Trial:
        answers = some_images(folder, rng, ["images/1.png"])
        target = folder / "x"
        if what == "pipe":
            os.mkfifo(target)
        elif what == "loop":
            target.symlink_to("x")
        elif what == "link":
            target.symlink_to("images")
            return Trial(target, either(Reads({"x/1.png": answers["images/1.png"]}), Reads(answers)))
        elif what == "run":
            fill(target, [RUN_MARKER], b"{}")
            some_images(target, rng, ["views.png"])
        elif what == "empty":
            target.mkdir()
        elif what == "image":
            target = folder / "images/1.png"
        elif what in ("/dev/zero", "/dev/null", "/proc/self/mem"):
            target = Path(what)
        elif what.startswith("."):
            target = folder / f"x{what}"
            target.write_bytes(b"packed")
        return Trial(target, refused(printable(target.name), "empty", "run"))

    return build


# Every suffix that Pillow knows.


def every_suffix() -> list[str]:
    Image.init()
    return sorted(
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE and kind in Image.OPEN
    )


def with_suffix(suffix: str, capital: bool) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        kind = Image.registered_extensions()[suffix]
        array = np.full((16, 16), 7, np.uint8) + np.arange(16, dtype=np.uint8)
        answers = some_images(folder, rng, ["z.png"])
        mode = {"MSP": "1", "XBM": "1", "PALM": "P", "FITS": "L", "SPIDER": "F", "BLP": "P"}.get(kind, "L")
        file = f"a{suffix.upper() if capital else suffix}"
        try:
            (folder / file).write_bytes(saved(Image.fromarray(array).convert(mode), kind))
        except (OSError, ValueError, KeyError):  # a kind that takes no such picture
            (folder / file).write_bytes(b"cannot be written")
        if kind in NO_IMAGES:
            return Trial(folder, Reads(answers, said=(f"1 {suffix}",)))
        return Trial(folder, Listed((file, "z.png")))

    return build


@dataclass(frozen=True)
class Listed:
    """These and no others are read, or named as bad."""

    names: tuple[str, ...]

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        found = sorted(name for part in outcome.parts.values() for name in part.images)
        return None if found == sorted(self.names) else f"has {found}, must have {sorted(self.names)}"


# Words that look like something else, on the shell.

WORDS = [
    *(name for name in NAMES.values() if not name.startswith("-") and not name.startswith("@")),
    "~", "{}", "[]", "''", '""', "''a''", "yes", "on", "off", "1_000", ".5", "1.", "+1", "1e400", "0o7", "12:30:00",
    "=", "a:", "? a", "| a", "> a", "% a", "@", "...", "..", ".", "None ", " null", "2024-01-01T00:00:00Z",
    "0b1", "1,2", "[1, 2]", "{a: [}", "'open", '"open', "<<", "!!python/object:os.system", "*x", "%YAML 1.2",
]  # fmt: skip
PLACES: dict[str, tuple[str, list[str]]] = {
    "data": ("pretrain", ["WORD"]),
    "out": ("pretrain", ["images", "--out", "WORD"]),
    "weights": ("pretrain", ["images", "--weights=WORD"]),
    "label": ("pretrain", ["images", "--label", "WORD"]),
    "group": ("evaluate", ["encoder", "images", "--group", "WORD"]),
    "model": ("evaluate", ["WORD", "images"]),
    "test_split": ("evaluate", ["encoder", "images", "--test_split", "WORD"]),
    "path_column": ("embed", ["encoder", "images", "--out", "a.npz", "--path_column", "WORD"]),
}


def typed_word(word: str) -> Callable[[Path, Generator], Trial]:
    """A word typed in every place where a path or a name is asked for."""

    def act(data: str, folder: Path) -> dict[str, Any]:
        answers = {}
        for name, (verb, argv) in PLACES.items():
            if argv[0] == "WORD" and data.startswith("-"):  # an option, unless it stands behind --
                argv = [*argv[1:], "--", data]
            argv = [one.replace("WORD", data) for one in argv]
            settings = arguments.parse(getattr(selfsight, verb), argv, "selfsight")
            answers[name] = str(settings[name])
        return answers

    def build(folder: Path, rng: Generator) -> Trial:
        return Trial(word, Gives(dict.fromkeys(PLACES, word)), act=act)

    return build


def cases() -> Iterator[Case]:
    for name in NAMES:
        for suffix in (".png", ".npy"):
            yield Case(f"names/file/{name}{suffix}", 4, named_file(name, suffix))
        yield Case(f"names/class/{name}", 4, named_class(name))
        yield Case(f"names/root/{name}", 4, named_root(name))
    for name in TWINS:
        yield Case(f"names/twins/{name}", 2, twin_classes(name))
    for name in (
        "newline",
        "comma",
        "quote",
        "chinese",
        "bytes-latin",
        "bytes-all",
        "null",
        "number",
        "escape",
        "emoji",
    ):
        for suffix in (".parquet", ".npz"):
            yield Case(f"names/embedded/{name}{suffix}", 4, written_names(name, suffix))
    for name in BESIDE:
        for classes in (False, True):
            yield Case(f"names/beside/{name}/{'classes' if classes else 'plain'}", 4, beside(name, classes))
        yield Case(f"names/only/{name}", 4, only(name))
    for what in ("pipe", "loop", "link", "run", "empty", "image", "/dev/zero", "/dev/null", "/proc/self/mem", "none",
                 ".zip", ".tar.gz", ".mp4", ".pt", ".h5", ".json", ".xlsx", ".txt"):  # fmt: skip
        yield Case(f"names/given/{what}", 4, single(what))
    for suffix in every_suffix():
        for capital in (False, True):
            yield Case(f"names/suffix/{suffix.upper() if capital else suffix}", 4, with_suffix(suffix, capital))
    for word in dict.fromkeys(WORDS):
        yield Case(f"names/typed/{word!a}", 4, typed_word(word))
