"""Kind 7: nobody's data is lost or mixed, whatever lies where something is to be written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image

import selfsight
from hostile.case import Case, Expect, Failed, Problem, Trial, either, refused
from hostile.formats import noise, saved
from hostile.names import fill
from hostile.options import small_encoder
from hostile.tables import as_csv, some_images
from selfsight.data import identity, open_source
from selfsight.engine import Claim
from selfsight.naming import RUN_MARKER
from selfsight.nets import save_encoder

# Folders of runs.

RUN_FILES = ["config.yaml", "metrics.csv", "log.txt", "summary.json", "encoder.safetensors", "checkpoints/last.ckpt"]


def old_run(run: Path, marked: bool = True) -> None:
    """What a run leaves."""
    fill(run, RUN_FILES)
    (run / "views.png").write_bytes(b"views")
    if marked:
        fill(run, [RUN_MARKER], b"{}")


def with_more(*names: str, marked: bool = True) -> Callable[[Path, Generator], None]:
    def make(folder: Path, rng: Generator) -> None:
        old_run(folder / "run", marked)
        fill(folder / "run", list(names))

    return make


def linked(name: str, target: str) -> Callable[[Path, Generator], None]:
    """A run of which one part is a link to somebody's file or folder."""

    def make(folder: Path, rng: Generator) -> None:
        old_run(folder / "run")
        fill(folder, ["mine/last.ckpt", "mine/notes.txt"])
        place = folder / "run" / name
        if place.is_dir():
            for inner in place.iterdir():
                inner.unlink()
            place.rmdir()
        place.unlink(missing_ok=True)
        place.symlink_to(folder / target)

    return make


def images_in_run(folder: Path, rng: Generator) -> None:
    old_run(folder / "run")
    some_images(folder / "run", rng, ["a/1.png", "2.png"])


def folder_linked(folder: Path, rng: Generator) -> None:
    old_run(folder / "there")
    fill(folder / "there", ["notes.txt"])
    (folder / "run").symlink_to("there")


def marker_is(what: str) -> Callable[[Path, Generator], None]:
    def make(folder: Path, rng: Generator) -> None:
        fill(folder / "run", ["mine.txt"])
        marker = folder / "run" / RUN_MARKER
        if what == "folder":
            marker.mkdir()
        elif what == "dead-link":
            marker.symlink_to("nowhere")
        else:
            fill(folder, ["other.json"], b"{}")
            marker.symlink_to("../other.json")

    return make


def nothing_there(folder: Path, rng: Generator) -> None:
    pass


# (what is in the folder `run`, whether overwrite, plain use and resume may take it)
FOLDERS: dict[str, tuple[Callable[[Path, Generator], Any], str]] = {
    "absent": (nothing_there, "overwrite plain resume"),
    "empty": (lambda f, r: (f / "run").mkdir(), "overwrite plain resume"),
    "run": (lambda f, r: old_run(f / "run"), "overwrite"),
    "marker-alone": (lambda f, r: fill(f / "run", [RUN_MARKER], b"{}"), "overwrite plain resume"),
    "run-unmarked": (with_more(marked=False), ""),
    "notes": (with_more("notes.txt"), ""),
    "hidden": (with_more(".git/config"), ""),
    "hidden-file": (with_more(".env"), ""),
    "png": (with_more("figure.png"), ""),
    "csv": (with_more("labels.csv"), ""),
    "old-checkpoint": (with_more("checkpoints/best.ckpt"), ""),
    "board": (with_more("tensorboard/notes.md"), ""),
    "deep": (with_more("checkpoints/more/last.ckpt"), ""),
    "two-runs": (with_more("seed-1/config.yaml", f"seed-1/{RUN_MARKER}"), ""),
    "exported": (with_more("encoder.onnx"), ""),
    "features": (with_more("features.parquet"), ""),
    "evaluated": (with_more("evaluation.json"), "overwrite"),
    "capitals": (with_more("Metrics.csv"), ""),
    "space": (with_more("metrics.csv "), ""),
    "newline": (with_more("metrics.csv\n"), ""),
    "folder-of-a-name": (with_more("held_out.csv/x"), ""),
    "images": (images_in_run, ""),
    "file": (lambda f, r: fill(f, ["run"]), ""),
    "dead-link": (lambda f, r: (f / "run").symlink_to("nowhere"), "any"),
    "loop": (lambda f, r: (f / "run").symlink_to("run"), ""),
    "pipe": (lambda f, r: os.mkfifo(f / "run"), ""),
    "device": (lambda f, r: (f / "run").symlink_to("/dev/null"), ""),
    "linked-folder": (folder_linked, ""),
    "linked-metrics": (linked("metrics.csv", "mine/notes.txt"), ""),
    "linked-checkpoints": (linked("checkpoints", "mine"), ""),
    "linked-last": (linked("checkpoints/last.ckpt", "mine/last.ckpt"), ""),
    "foreign": (lambda f, r: fill(f / "run", ["main.py", "data/a.txt"]), ""),
    "foreign-config": (lambda f, r: fill(f / "run", ["config.yaml", "main.py"]), ""),
    "foreign-marked": (lambda f, r: fill(f / "run", ["main.py", RUN_MARKER], b"{}"), ""),
    "marker-folder": (marker_is("folder"), ""),
    "marker-dead-link": (marker_is("dead-link"), ""),
    "marker-link": (marker_is("link"), ""),
}


def claimed(data: Any, folder: Path, *, out: Path, weights: Any = None, **options: Any) -> list[str]:
    """Take a folder for a run, as `pretrain` does; answers what lies in it then."""
    with Claim(out, "simclr", sources=(data, weights), **options) as claim:
        path = claim.take({"method": "simclr"})
        return sorted(os.listdir(path))


@dataclass(frozen=True)
class Holds:
    """A folder with these names and no others."""

    names: tuple[str, ...]

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        return None if tuple(outcome.value) == self.names else f"holds {outcome.value}, must hold {self.names}"


def taken(name: str, way: str) -> Callable[[Path, Generator], Trial]:
    make, ways = FOLDERS[name]

    def build(folder: Path, rng: Generator) -> Trial:
        make(folder, rng)
        fresh = Holds(("config.yaml", RUN_MARKER))
        right: Expect = fresh if way in ways else refused("run")
        if way == "resume" and name not in ("absent", "empty", "marker-alone"):
            right = refused("run", "settings")  # no run of these settings
        if ways == "any":
            right = either(fresh, refused("run"))
        own = ("run", "nowhere") if way in ways or ways == "any" else ()
        options = {"out": folder / "run"} | ({} if way == "plain" else {way: True})
        return Trial(None, right, options, act=claimed, own=own)

    return build


# Where the data and the weights lie.


def around(what: str) -> Callable[[Path, Generator], Trial]:
    """The run's folder is that of the data, or lies around it or beside it."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [f"{letter}/{number}.png" for number in range(3) for letter in "ab"]
        some_images(folder / "images", rng, names)
        fill(folder / "run", [RUN_MARKER, "metrics.csv"], b"{}")
        fill(folder / "run", ["encoder.safetensors", "held_out.csv"])
        data: Any = folder / "images"
        out, weights, right = folder / "run", None, refused("overwrite", "images", "run")
        own: tuple[str, ...] = ()
        if what == "same":
            out = data
        elif what == "marked-same":
            fill(folder / "images", [RUN_MARKER], b"{}")
            out = data
        elif what == "around":
            out = folder
        elif what == "marked-around":
            fill(folder, [RUN_MARKER], b"{}")
            out = folder
        elif what == "class-folder":
            out = folder / "images" / "a"
        elif what == "by-a-link":
            (folder / "link").symlink_to("images")
            out = folder / "link"
        elif what == "data-by-a-link":
            (folder / "link").symlink_to("run")
            data = folder / "link" / "held_out.csv"
        elif what == "table":
            data = folder / "run" / "held_out.csv"
        elif what == "table-in-parts":
            data = {"train": folder / "images", "test": folder / "run" / "held_out.csv"}
        elif what == "list":
            (folder / "run" / "views.png").write_bytes((folder / "images" / "a" / "0.png").read_bytes())
            data = [str(folder / "images" / "b" / "0.png"), str(folder / "run" / "views.png")]
        elif what == "frame":
            (folder / "run" / "views.png").write_bytes((folder / "images" / "a" / "0.png").read_bytes())
            data = pd.DataFrame({"path": [str(folder / "run" / "views.png")]})
        elif what == "weights":
            weights = folder / "run"
        elif what == "weights-file":
            weights = folder / "run" / "encoder.safetensors"
        elif what == "spelled":
            out, data = folder / "images" / ".." / "run", folder / "run" / "." / "held_out.csv"
        elif what == "beside":
            right, own = Holds(("config.yaml", RUN_MARKER)), ("run",)
        options = {"out": out, "weights": weights, "overwrite": True}
        return Trial(data, right, options, act=claimed, own=own)

    return build


AROUND = ("same", "marked-same", "around", "marked-around", "class-folder", "by-a-link", "data-by-a-link", "table",
          "table-in-parts", "list", "frame", "weights", "weights-file", "spelled", "beside")  # fmt: skip


# Files that evaluate, embed and export write.


@cache
def few_images() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (24, 8, 8), dtype=np.uint8)


def some_data(folder: Path, form: str) -> Path:
    """Labelled images in a file or folder."""
    images, labels = few_images(), np.arange(24) % 2
    if form == "npz":
        np.savez(folder / "d.npz", images=images, labels=labels)
        return folder / "d.npz"
    for number, image in enumerate(images):
        (folder / "images" / "ab"[labels[number]]).mkdir(parents=True, exist_ok=True)
        name = f"images/{'ab'[labels[number]]}/{number:02}.png"
        (folder / name).write_bytes(saved(Image.fromarray(image), "PNG"))
    if form == "folder":
        return folder / "images"
    paths = [f"images/{'ab'[number % 2]}/{number:02}.png" for number in range(24)]
    if form == "parquet":
        pd.DataFrame({"path": paths, "label": labels}).to_parquet(folder / "d.parquet")
        return folder / "d.parquet"
    (folder / "d.csv").write_text(as_csv([["path", "label"], *([path, path[7]] for path in paths)]))
    return folder / "d.csv"


SPELLINGS: dict[str, Callable[[Path], Path]] = {
    "same": lambda path: path,
    "dots": lambda path: path.parent / "." / ".." / path.parent.name / path.name,
    "link": lambda path: linked_to(path, symbolic=True),
    "hard-link": lambda path: linked_to(path, symbolic=False),
}


def linked_to(path: Path, symbolic: bool) -> Path:
    other = path.with_name(f"other{path.suffix}")
    if symbolic:
        other.symlink_to(path)
    else:
        os.link(path, other)
    return other


def over_data(verb: str, form: str, spelling: str) -> Callable[[Path, Generator], Trial]:
    """`out` is the very file that is read, and overwrite is set: what is read is not lost."""

    def build(folder: Path, rng: Generator) -> Trial:
        data = some_data(folder, form)
        out = SPELLINGS[spelling](data)
        words = ("which is read", "no results of evaluate")
        return Trial(data, refused(*words), {"verb": verb, "out": out}, act=written_over)

    return build


def over_image(verb: str) -> Callable[[Path, Generator], Trial]:
    """`out` is an image of the data."""

    def build(folder: Path, rng: Generator) -> Trial:
        data = some_data(folder, "csv")
        return Trial(data, refused("out"), {"verb": verb, "out": folder / "images/a/00.png"}, act=written_over)

    return build


def over_encoder(verb: str, name: str) -> Callable[[Path, Generator], Trial]:
    """`out` is the encoder that is read, or what belongs to it."""

    def build(folder: Path, rng: Generator) -> Trial:
        save_encoder(small_encoder(), folder / "run")
        fill(folder / "run", ["config.yaml", RUN_MARKER], b"{}")
        data = some_data(folder, "npz")
        options = {"verb": verb, "out": folder / "run" / name, "model": folder / "run"}
        return Trial(data, refused("out", "encoder"), options, act=written_over)

    return build


def written_over(data: Any, folder: Path, *, verb: str, out: Path, model: Any = None, overwrite: bool = True) -> Any:
    model = small_encoder() if model is None else model
    common = {"out": out, "overwrite": overwrite}
    if verb == "export":
        kinds = {".pt": "state_dict", ".safetensors": "safetensors"}
        return selfsight.export(model, format=kinds[out.suffix], **common)
    if verb == "embed":
        return selfsight.embed(model, data, workers=0, devices="cpu", **common)
    return selfsight.evaluate(
        model, data, protocols="knn", protocol_options={"knn": {"k": 3}}, workers=0, devices="cpu", **common
    )


WRITERS = {"evaluate": "r.json", "embed": "f.npz", "embed-table": "f.parquet", "export": "e.safetensors",
           "export-state": "e.pt"}  # fmt: skip
TARGETS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "exists": (lambda out: out.write_bytes(b"mine"), "overwrite"),
    "folder": (lambda out: out.mkdir(), ""),
    "full-folder": (lambda out: fill(out, ["mine.txt"]), ""),
    "dead-link": (lambda out: out.symlink_to("nowhere"), "overwrite"),
    "link-to-file": (lambda out: (out.with_name("mine").write_bytes(b"mine"), out.symlink_to("mine")), "overwrite"),
    "link-to-folder": (lambda out: (out.with_name("mine").mkdir(), out.symlink_to("mine")), ""),
    "loop": (lambda out: out.symlink_to(out.name), "maybe"),
    "pipe": (os.mkfifo, "maybe"),
    "device": (lambda out: out.symlink_to("/dev/full"), "maybe"),
    "beside-temporary": (lambda out: out.with_name(f".selfsight-{os.getpid()}-0").write_bytes(b"mine"), "plain"),
    "beside-alike": (lambda out: fill(out.parent, [f"{out.name}.tmp", f".{out.name}", f"{out.stem}.tmp"]), "plain"),
}


def written_to(writer: str, target: str, overwrite: bool) -> Callable[[Path, Generator], Trial]:
    """Something lies already where a verb writes, or beside it."""
    make, when = TARGETS[target]

    def build(folder: Path, rng: Generator) -> Trial:
        data = some_data(folder, "npz")
        (folder / "o").mkdir()
        out = folder / "o" / WRITERS[writer]
        make(out)
        ok = when == "plain" or (when == "overwrite" and overwrite)
        if writer == "evaluate" and target in ("exists", "link-to-file"):  # no results of evaluate
            ok = False
        right: Expect = Written(out) if ok else refused("out", str(out))
        if when == "maybe" and overwrite:
            right = either(right, Written(out))
        beside = f"o/{out.stem}.json"
        own = (f"o/{out.name}", beside) if ok or (when == "maybe" and overwrite) else ()
        verb = writer.split("-")[0]
        options = {"verb": verb, "out": out, "overwrite": overwrite}
        return Trial(data, right, options, act=written_over, own=own)

    return build


@dataclass(frozen=True)
class Written:
    """Written as a plain file."""

    out: Path

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        whole = self.out.is_file() and not self.out.is_symlink() and self.out.stat().st_size > 100
        return None if whole else f"{self.out} was not written as a file"


def description_beside(text: str, overwrite: bool) -> Callable[[Path, Generator], Trial]:
    """`export` writes a JSON beside its file, where somebody's own may lie."""

    def build(folder: Path, rng: Generator) -> Trial:
        fill(folder, ["e.json"], text.encode())
        options = {"verb": "export", "out": folder / "e.safetensors", "overwrite": overwrite}
        return Trial(None, refused("e.json"), options, act=written_over)

    return build


def results_beside(text: str) -> Callable[[Path, Generator], Trial]:
    """`evaluate` gathers its results in evaluation.json, where something else may lie."""

    def act(data: Any, folder: Path) -> Any:
        return selfsight.evaluate(
            folder / "run", data, protocols="knn", protocol_options={"knn": {"k": 3}}, workers=0, devices="cpu"
        )

    def build(folder: Path, rng: Generator) -> Trial:
        save_encoder(small_encoder(), folder / "run")
        fill(folder / "run", ["evaluation.json"], text.encode(errors="surrogateescape"))
        return Trial(some_data(folder, "npz"), refused("evaluation.json"), act=act)

    return build


def results_of_several(first: str, second: str, alike: bool) -> Callable[[Path, Generator], Trial]:
    """Results on different data lie side by side, and those on the same take each other's place."""

    def act(data: Any, folder: Path) -> Any:
        for one in data:
            selfsight.evaluate(
                folder / "run",
                one,
                protocols="knn",
                protocol_options={"knn": {"k": 3}},
                baselines=False,
                workers=0,
                devices="cpu",
            )
        records = json.loads((folder / "run/evaluation.json").read_text())
        return sorted(record["encoder"] for record in records if record["metric"] == "top1")

    def build(folder: Path, rng: Generator) -> Trial:
        save_encoder(small_encoder(), folder / "run")
        made = []
        for name, form in (("x", first), ("y", second)):
            place = folder / ("x" if alike else name)
            place.mkdir(exist_ok=True)
            data = some_data(place, form)
            if not alike and name == "y":
                np.savez(data, images=few_images()[::-1], labels=np.arange(24) % 2)
            made.append(data)
        right = Gives(["chance", "trained"] * (1 if alike else 2))
        return Trial(made, right, act=act, own=("run/evaluation.json",))

    return build


@dataclass(frozen=True)
class Gives:
    value: Any

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        return None if sorted(outcome.value) == sorted(self.value) else f"answers {outcome.value}, must be {self.value}"


# A table's own columns.

OWN_NAMES = ("features", "index", "split", "class", "label", "path", "features_in_table", "index_in_table", "Features",
             "path_in_table", "label_in_table", "class_in_table", "0", "", "a b", "naïve", "features.npy", "../x",
             "__index_level_0__", "x" * 200, "image", "row", "nan", "a/b", "name\nname")  # fmt: skip


def own_column(name: str, form: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    """A column of the table called like one of selfsight's own is written as well."""

    def act(data: Any, folder: Path, **options: Any) -> dict[str, list[Any]]:
        out = selfsight.embed(small_encoder(), data, out=f"f{suffix}", workers=0, devices="cpu", **options)
        if suffix == ".parquet":
            return pd.read_parquet(out).to_dict("list")
        with np.load(out) as archive:
            return {name: archive[name].tolist() for name in archive.files}

    def build(folder: Path, rng: Generator) -> Trial:
        some_data(folder, "folder")
        paths = [f"images/{'ab'[number % 2]}/{number:02}.png" for number in range(8)]
        own = [f"v{number % 3}" for number in range(8)] if name != "split" else ["train"] * 8
        columns = {"file": paths, "kind": list("ab") * 4, name: own}
        options: dict[str, Any] = {"path_column": "file"}
        if name != "label":
            options["label"] = "kind"
        frame = pd.DataFrame(columns)
        if form == "frame":
            frame["file"] = [str(folder / path) for path in paths]
            return Trial(frame, Survives(name, own), options, act=act)
        table = folder / f"t.{form}"
        if form == "csv":
            frame.to_csv(table, index=False)
        else:
            frame.to_parquet(table)
        return Trial(table, Survives(name, own), options, act=act)

    return build


@dataclass(frozen=True)
class Survives:
    """Values that some column holds, and features beside them."""

    name: str
    values: list[str]

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        found = [name for name, column in outcome.value.items() if list(map(str, column)) == self.values]
        if not found:
            return f"{self.name!r} is lost, there are {list(outcome.value)}"
        return None if np.shape(list(outcome.value["features"]))[0] == 8 else "the features are lost"


# What data are the same.


def same_data(change: str) -> Callable[[Path, Generator], Trial]:
    """Whether `identity` sees a change, and sees none where there is none."""

    def act(data: Any, folder: Path) -> list[bool]:
        return [identity(open_source(data[0])) == identity(open_source(data[1]))]

    def build(folder: Path, rng: Generator) -> Trial:
        images, labels = noise(rng, (20, 6, 6)), [f"c{number % 2}" for number in range(20)]
        other, words = images.copy(), list(labels)
        data: list[Any] = [(images, labels)]
        if change == "copied":
            pass
        elif change == "pixel":
            other[7, 3, 3] ^= 1
        elif change == "last-pixel":
            other[-1, -1, -1] ^= 1
        elif change == "order":
            other = other[::-1].copy()
        elif change == "label":
            words[5] = "c9"
        elif change == "fewer":
            other, words = other[:-1], words[:-1]
        elif change == "type":
            other = other.astype(np.uint16)
        elif change == "shape":
            other = other.reshape(20, 4, 9)
        if change.startswith("folder"):
            data = []
            for place in ("x", "y"):
                for number, image in enumerate(images):
                    image = image ^ (1 if change == "folder-pixel" and place == "y" and number == 3 else 0)
                    name = f"{labels[number]}/{number:02}.npy"
                    name = f"c0/{number:02}.npy" if change == "folder-moved" and place == "y" and number < 4 else name
                    (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
                    np.save(folder / place / name, image)
                data.append(folder / place)
            if change == "folder-touched":
                os.utime(folder / "y" / "c0" / "00.npy", (1, 1))
        else:
            data.append((other, words))
        return Trial(data, Gives([change in ("copied", "folder-copied", "folder-touched")]), act=act)

    return build


CHANGES = ("copied", "pixel", "last-pixel", "order", "label", "fewer", "type", "shape", "folder-copied",
           "folder-touched", "folder-pixel", "folder-moved")  # fmt: skip


def cases() -> Iterator[Case]:
    for name in FOLDERS:
        for way in ("overwrite", "plain", "resume"):
            yield Case(f"folders/taken/{name}/{way}", 7, taken(name, way))
    for what in AROUND:
        yield Case(f"folders/around/{what}", 7, around(what))
    for spelling in SPELLINGS:
        for form in ("npz", "csv", "parquet"):
            yield Case(f"folders/over-data/evaluate/{form}/{spelling}", 7, over_data("evaluate", form, spelling))
            if form != "csv":
                yield Case(f"folders/over-data/embed/{form}/{spelling}", 7, over_data("embed", form, spelling))
    yield Case("folders/over-image/evaluate", 7, over_image("evaluate"))
    for verb, names in (("evaluate", ("encoder.safetensors", "encoder.json", "config.yaml", RUN_MARKER)),
                        ("export", ("encoder.safetensors",))):  # fmt: skip
        for name in names:
            yield Case(f"folders/over-encoder/{verb}/{name}", 7, over_encoder(verb, name))
    for writer in WRITERS:
        for target in TARGETS:
            for overwrite in (False, True):
                name = f"folders/written/{writer}/{target}/{'overwrite' if overwrite else 'plain'}"
                yield Case(name, 7, written_to(writer, target, overwrite))
    for number, text in enumerate(("{}", "[]", "mine", "", '{"name": "me"}')):
        for overwrite in (False, True):
            name = f"folders/beside-export/{number}/{'overwrite' if overwrite else 'plain'}"
            yield Case(name, 7, description_beside(text, overwrite))
    for number, text in enumerate(("{}", "[1]", "mine", "", '{"a": 1}', "\udcff", '[{"a": 1}]')):
        yield Case(f"folders/results-beside/{number}", 7, results_beside(text))
    for first, second, alike in (("npz", "npz", True), ("npz", "npz", False), ("folder", "folder", True)):
        name = f"folders/results/{first}-{second}-{'same' if alike else 'other'}"
        yield Case(name, 7, results_of_several(first, second, alike))
    for name in OWN_NAMES:
        for form, suffix in (("csv", ".npz"), ("parquet", ".parquet"), ("frame", ".npz"), ("csv", ".parquet")):
            yield Case(f"folders/columns/{name!r}/{form}{suffix}", 7, own_column(name, form, suffix))
    for change in CHANGES:
        yield Case(f"folders/identity/{change}", 7, same_data(change))
