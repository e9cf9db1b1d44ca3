"""Kind 8: pipes, sockets, devices, rings of links and locked files, wherever a path is asked for: nothing waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

import selfsight
from hostile.case import BAD, LEFT_OUT, Case, Expect, Reads, Trial, either, one_of, refused
from hostile.folders import claimed
from hostile.formats import noise
from hostile.options import Refuses, shell, small_encoder
from hostile.tables import as_csv, some_images
from selfsight.data import open_source
from selfsight.data.subsets import hold_out
from selfsight.nets import load_encoder, save_encoder

# Things that are no file, made at a path.


def make_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # an address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def make_ring(path: Path) -> None:
    other = path.with_name("ring")
    path.symlink_to(other)
    other.symlink_to(path)


def make_locked(path: Path) -> None:
    path.write_bytes(b"locked")
    path.chmod(0)


def make_behind_locked(path: Path) -> None:
    """A link to a file in a folder that may not be entered."""
    closed = path.with_name("closed")
    closed.mkdir()
    (closed / "file").write_bytes(b"behind")
    path.symlink_to(closed / "file")
    closed.chmod(0)


def make_long_chain(path: Path) -> None:
    """More links in a row than the system follows."""
    last = path.with_name("link-0")
    last.symlink_to("nowhere")
    for number in range(1, 60):
        here = path.with_name(f"link-{number}")
        here.symlink_to(last.name)
        last = here
    path.symlink_to(last.name)


THINGS: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "linked-pipe": lambda path: (os.mkfifo(path.with_name("fifo")), path.symlink_to("fifo")),
    "socket": make_socket,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "random": lambda path: path.symlink_to("/dev/urandom"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "input": lambda path: path.symlink_to("/dev/stdin"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "to-itself": lambda path: path.symlink_to(path.name),
    "ring": make_ring,
    "chain": make_long_chain,
    "dead-link": lambda path: path.symlink_to("nowhere"),
    "folder": Path.mkdir,
    "folder-link": lambda path: (path.with_name("place").mkdir(), path.symlink_to("place")),
    "empty": Path.touch,
    "locked": make_locked,
    "behind-locked": make_behind_locked,
}
PLACES = (".png", ".jpg", ".tif", ".npy", ".nii", ".csv", ".tsv", ".parquet", ".npz", ".zip", "")


def given(thing: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    """The thing is the data itself."""

    def build(folder: Path, rng: Generator) -> Trial:
        THINGS[thing](folder / f"x{suffix}")
        return Trial(folder / f"x{suffix}", refused())

    return build


def listed(thing: str, suffix: str, how: str) -> Callable[[Path, Generator], Trial]:
    """A table or a list names the thing among sound images: it is a bad one, or all is refused in one line."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [f"{number}.png" for number in range(12)]
        answers: dict[str, Any] = dict(some_images(folder, rng, names))
        (folder / "odd").mkdir()
        THINGS[thing](folder / "odd" / f"x{suffix}")
        rows = [*names, f"odd/x{suffix}"]
        answers[rows[-1]] = BAD
        data: Any = [str(folder / row) for row in rows]
        if how == "table":
            data = folder / "t.csv"
            data.write_text(as_csv([["path", "label"], *([row, "a"] for row in rows)]))
        right: Expect = either(Reads(answers), refused("odd", "x", "folder"))
        return Trial(data, right)

    return build


def among(thing: str, suffix: str, below: str) -> Callable[[Path, Generator], Trial]:
    """The thing lies in a folder of images: left out or bad, and the others are read."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [f"{letter}/{number}.png" for number in range(6) for letter in "ab"]
        answers: dict[str, Any] = dict(some_images(folder, rng, names))
        THINGS[thing](folder / below / f"x{suffix}")
        more = {f"{below}/x{suffix}".lstrip("/"): one_of_left_out_or_bad()}
        for name in ("fifo", "ring", "closed", "place", "nowhere"):
            more.setdefault(f"{below}/{name}".lstrip("/"), one_of_left_out_or_bad())
        reads: Expect = Reads(answers | more)
        return Trial(folder, either(reads, refused("mixes .npy")) if suffix == ".npy" else reads)

    return build


def one_of_left_out_or_bad() -> Any:
    return one_of(LEFT_OUT, BAD)


def part(thing: str, name: str) -> Callable[[Path, Generator], Trial]:
    """The thing lies where a part of the data is expected."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = [f"train/{letter}/{number}.png" for number in range(4) for letter in "ab"]
        answers = some_images(folder, rng, names)
        THINGS[thing](folder / name)
        right: Expect = either(Reads(answers), refused())  # the one part that is there, or an empty one named
        return Trial(folder, right)

    return build


def digested(thing: str) -> Callable[[Path, Generator], Trial]:
    """Telling equal images apart looks at the files, and waits for none."""

    def act(data: Any, folder: Path) -> int:
        return len(hold_out(open_source(data), 0.2, 0, None).held)

    def build(folder: Path, rng: Generator) -> Trial:
        names = [f"{number}.png" for number in range(40)]
        some_images(folder, rng, names)
        (folder / "odd").mkdir()
        THINGS[thing](folder / "odd" / "x.png")
        rows = [[name, "ab"[number % 2]] for number, name in enumerate([*names, "odd/x.png", "odd/x.png"])]
        (folder / "t.csv").write_text(as_csv([["path", "label"], *rows]))
        return Trial(folder / "t.csv", either(Answers(), refused("x", "odd")), act=act)

    return build


class Answers:
    """Anything but an error."""

    def __call__(self, outcome: Any) -> str | None:
        return f"refused: {outcome.error}" if hasattr(outcome, "error") else None


# Encoders, weights, settings and outputs.


def encoder_at(thing: str, name: str) -> Callable[[Path, Generator], Trial]:
    """The weights or their description are such a thing."""

    def act(data: Any, folder: Path) -> Any:
        return load_encoder(data)

    def build(folder: Path, rng: Generator) -> Trial:
        save_encoder(small_encoder(), folder / "run")
        (folder / "run" / name).unlink()
        (folder / "run" / "odd").mkdir()
        THINGS[thing](folder / "run" / name)
        return Trial(folder / "run", refused("encoder"), act=act)

    return build


def started_from(thing: str) -> Callable[[Path, Generator], Trial]:
    def act(data: Any, folder: Path) -> Any:
        return selfsight.pretrain(
            noise(np.random.default_rng(0), (40, 8, 8)),
            encoder="resnet_slim",
            weights=data,
            out=folder / "run",
            epochs=1,
            batch_size=8,
            devices="cpu",
            workers=0,
        )

    def build(folder: Path, rng: Generator) -> Trial:
        THINGS[thing](folder / "w.safetensors")
        return Trial(folder / "w.safetensors", refused("w.safetensors"), act=act)

    return build


def configured(thing: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        THINGS[thing](folder / "c.yaml")
        argv = ["pretrain", "nowhere", "--config", "FOLDER/c.yaml", "--out", "FOLDER/run"]
        words = ("c.yaml", "nowhere") if thing in ("empty", "null", "input") else ("c.yaml",)
        return Trial(None, Refuses(words), {"argv": argv}, act=shell)

    return build


def run_at(thing: str, place: str, way: str) -> Callable[[Path, Generator], Trial]:
    """The run's folder, its marker or its settings are such a thing."""

    def build(folder: Path, rng: Generator) -> Trial:
        path = folder / "run"
        if place:
            path.mkdir()
            path = path / place
        THINGS[thing](path)
        options = {"out": folder / "run"} | ({} if way == "plain" else {way: True})
        fine = thing in ("folder", "folder-link", "dead-link", "empty", "locked") or way == "overwrite"
        right = either(Answers(), refused("run")) if fine else refused("run")
        own = ("run", "nowhere", "place") if fine else ()
        return Trial(None, right, options, act=claimed, own=own)

    return build


def cases() -> Iterator[Case]:
    for thing in THINGS:
        for suffix in PLACES:
            yield Case(f"special/given/{thing}{suffix}", 8, given(thing, suffix))
        for suffix in (".png", ".npy", ".tif", ""):
            for how in ("table", "list"):
                yield Case(f"special/listed/{thing}{suffix}/{how}", 8, listed(thing, suffix, how))
        for suffix in (".png", ".npy"):
            for below in ("", "a"):
                yield Case(f"special/among/{thing}{suffix}/{below or 'root'}", 8, among(thing, suffix, below))
        for name in ("test", "val"):
            yield Case(f"special/part/{thing}/{name}", 8, part(thing, name))
        yield Case(f"special/digested/{thing}", 8, digested(thing))
        for name in ("encoder.safetensors", "encoder.json"):
            yield Case(f"special/encoder/{thing}/{name}", 8, encoder_at(thing, name))
        yield Case(f"special/weights/{thing}", 8, started_from(thing))
        yield Case(f"special/config/{thing}", 8, configured(thing))
        for place in ("", "selfsight-run.json", "config.yaml", "metrics.csv"):
            for way in ("plain", "resume", "overwrite"):
                yield Case(f"special/run/{thing}/{place or 'itself'}/{way}", 8, run_at(thing, place, way))
