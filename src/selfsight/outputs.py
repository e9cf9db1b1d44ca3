"""Files that a verb writes: looked at before the long work, written whole or not at all, never over another's."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any


def check_output(out: Path, *, overwrite: bool) -> None:
    """Raise a `ValueError` unless `out` can be written, without making a folder or a file that stays."""
    if os.path.isdir(out):
        raise ValueError(f"{out} is a folder: name a file in it with out")
    if os.path.lexists(out) and not overwrite:
        raise ValueError(f"{out} exists: set overwrite, or choose another out")
    if os.path.exists(out) and not os.path.isfile(out):
        raise ValueError(f"{out} is no file (a pipe, a socket, a device): choose another out")
    folder = existing_parent(out)
    try:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder")
        with exclusive(folder):
            pass
        os.stat(out)  # a name may be too long, or hold what no name holds
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {out} ({getattr(error, 'strerror', error)}): choose another out") from error


def refuse_inputs(out: Path, *read: Any) -> None:
    """Raise a `ValueError` where `out` is one of the files that are read, however it is spelled or linked."""
    if not os.path.exists(out):
        return
    for path in paths_in(read):
        try:
            same = os.path.samefile(path, out)
        except (OSError, ValueError):  # a word that names no file
            continue
        if same:
            raise ValueError(f"out {out} is the file {path}, which is read: choose another out")


def paths_in(data: Any) -> Iterator[str]:
    """All texts in what is given as data that may be paths: in lists, pairs, dictionaries and tables, too."""
    if isinstance(data, str | os.PathLike):
        yield os.fspath(data)
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from paths_in(value)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from paths_in(item)
    elif hasattr(data, "columns") and hasattr(data, "dtypes"):  # a table of pandas
        for column in data.columns[[dtype.kind == "O" for dtype in data.dtypes]]:
            yield from paths_in(list(data[column]))


def check_space(out: Path, needed: int) -> None:
    """Raise an `OSError` where the disk has less than `needed` bytes left."""
    free = shutil.disk_usage(existing_parent(out)).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{out} takes {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB left")


def write_atomically(out: Path, content: bytes) -> None:
    """Replace `out` as a whole or not at all, even when the disk fills or the power fails."""
    with replacing(out) as stream:
        stream.write(content)


@contextmanager
def replacing(out: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `out` at the end, when it is whole and on the disk.

    It lies beside `out`, so that a full disk or another file system cannot destroy what is there.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(out.parent) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(stream.name, out)
    if os.name == "posix":  # the new name itself is durable where the system can make it so
        folder = os.open(out.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def exclusive(folder: Path) -> Iterator[IO[bytes]]:
    """A new file in `folder` under a name that nobody has; it is gone at the end, unless it was moved."""
    names = (folder / f".selfsight-{os.getpid()}-{number}" for number in count())
    path = next(path for path in names if not os.path.lexists(path))
    with path.open("xb") as stream:
        try:
            yield stream
        finally:
            path.unlink(missing_ok=True)


def existing_parent(path: Path) -> Path:
    """The nearest folder above `path` that exists."""
    return next(parent for parent in path.absolute().parents if os.path.lexists(parent))
