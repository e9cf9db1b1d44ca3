"""How a case is tried: built, read under a bound of time, compared, and looked at for what it left."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import io
import logging
import os
import signal
import stat
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hostile.case import Answer, Case, Failed, Part, Read
from selfsight.data import Source, UnreadableImage, splits

SEED = 20261126
LONGEST = 700  # characters of an error: more is no line


class Hang(BaseException):
    """The bound of time is reached."""


def problem_of(case: Case, folder: Path | None = None) -> str | None:
    """What is wrong with the outcome of a case, or None."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="hostile") as made:
            return problem_of(case, Path(made))
    folder = Path(os.path.realpath(folder)) / "in"
    folder.mkdir()
    trial = case.build(folder, np.random.default_rng([SEED, zlib.crc32(case.name.encode())]))
    before = digest(folder)
    outcome = attempt(trial.act or read_all, trial.data, folder, trial.options, case.seconds)
    after = digest(folder)
    changed = sorted(
        path
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
        and not any(path == one or path.startswith(one + "/") for one in trial.own)
    )
    problem = raw_error(outcome) or trial.expect(outcome)
    return f"changed {changed[:4]}" if changed and not problem else problem


def attempt(act: Any, data: Any, folder: Path, options: dict[str, Any], seconds: int) -> Any:
    """The outcome of `act`, from a working folder of its own, with all that it says."""
    lines: list[str] = []
    stream = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="hostile-cwd") as cwd,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        warnings.catch_warnings(),
        listening(lines),
        inside(cwd),
        bounded(seconds),
    ):
        warnings.simplefilter("ignore")
        try:
            value = act(data, folder, **options)
        except (Exception, SystemExit, Hang) as error:
            return Failed(error, lines + stream.getvalue().splitlines())
    heard = lines + stream.getvalue().splitlines()
    return Read(value, heard) if act is read_all else Answer(value, heard)


def raw_error(outcome: Any) -> str | None:
    """What is wrong with an error whatever was expected."""
    if not isinstance(outcome, Failed):
        return None
    error, text = outcome.error, str(outcome.error)
    if isinstance(error, Hang):
        return "hangs"
    if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
        return f"a raw {type(error).__name__}: {text[:200]}"
    if "\n" in text or len(text) > LONGEST or not text.strip():
        return f"an error that is not one line: {text[:300]!r}"
    return None


def read_all(data: Any, folder: Path, **options: Any) -> dict[str, Part]:
    """All images of all parts of the data, and their labels."""
    return {name: read_part(source, folder) for name, source in splits(data, **options).items()}


def read_part(source: Source, folder: Path) -> Part:
    """All images of a source: each whole, and once more shrunk."""
    images: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    doubled = []
    for index in range(len(source)):
        key = key_of(source, index, folder)
        doubled += [key] if key in images else []
        images[key] = read_image(source, index)
        labels[key] = label_of(source, index)
        assert "\n" not in source.describe(index), "the name of an image is one line"
    return Part(images, labels, source.classes, source.value_range, source.channels, doubled)


def read_image(source: Source, index: int) -> Any:
    try:
        pixels = source.read(index)
    except UnreadableImage as error:
        assert "\n" not in str(error), f"the reason of a bad image is one line: {error}"
        return error
    assert pixels.dtype == source.dtype and pixels.shape[0] == source.channels
    assert tuple(source.shape(index)) == tuple(pixels.shape[1:]), "shape() tells another size than read()"
    small = source.read(index, 8)
    assert min(small.shape[1:]) <= 8 or small.shape == pixels.shape, "read(size=8) is larger than 8"
    return pixels.numpy().astype(np.float64)


def key_of(source: Source, index: int, folder: Path) -> str:
    """What tells images apart: the path below the folder of the data, else the position."""
    if "path" not in source.metadata:
        return str(index)
    path = os.path.abspath(str(source.metadata["path"].iloc[index]))
    return os.path.relpath(path, folder)


def label_of(source: Source, index: int) -> str | float | int | None:
    """The label of an image: the name of its class, a number on a scale, or None."""
    if "label" not in source.metadata:
        return None
    value = source.metadata["label"].iloc[index]
    if source.labels is None:
        return None if pd.isna(value) else float(value)
    if value < 0:
        return None
    return source.classes[int(value)] if source.classes else int(value)


@contextlib.contextmanager
def listening(lines: list[str]) -> Iterator[None]:
    """Collect what selfsight logs."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log, handler = logging.getLogger("selfsight"), Collect()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Raise `Hang` after so many seconds, and end the process where even that does not help."""

    def ring(*_: Any) -> None:
        raise Hang

    former = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(6 * seconds, exit=True, file=sys.__stderr__)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, former)


def digest(folder: Path) -> dict[str, str]:
    """What lies below a folder: of each path its kind, and its contents or where it leads."""
    found = {}
    for place, below, files in os.walk(folder):
        for name in below + files:
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            what = str(stat.S_IFMT(mode))
            if stat.S_ISLNK(mode):
                what += os.readlink(path)
            elif stat.S_ISREG(mode):
                try:
                    with open(path, "rb") as file:
                        what += hashlib.sha256(file.read()).hexdigest()
                except PermissionError:  # a locked one, unless root looks
                    what += str(os.lstat(path).st_mtime_ns)
            found[os.path.relpath(path, folder)] = what
    return found
