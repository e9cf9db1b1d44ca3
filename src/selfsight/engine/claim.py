"""Who may write into a run's folder: one run, one process at a time, and never over anything else."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from selfsight.engine.run_folder import check_same_run, config_hash, open_run
from selfsight.methods import method_name
from selfsight.naming import RUN_MARKER, printable
from selfsight.outputs import paths_in, write_atomically

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    from selfsight.methods import Method

log = logging.getLogger(__name__)

# All that selfsight itself writes into a run's folder, by folder; "" is the folder itself.
WRITTEN = {
    "": (
        "config.yaml", "metrics.csv", "views.png", "log.txt", "held_out.csv", "summary.json", "encoder.safetensors",
        "encoder.json", "method.safetensors", "method.json", "non_finite.pt", "evaluation*.json", "*.tmp", ".encoder.*",
        ".selfsight-*", RUN_MARKER,
    ),
    "checkpoints": ("last.ckpt", "last.ckpt.tmp", ".selfsight-*"),
    "tensorboard": ("events.out.tfevents.*",),
}  # fmt: skip
# What makes a run worth keeping; before any of it is there, another may take the folder.
KEPT = ("checkpoints/last.ckpt", "metrics.csv", "encoder.safetensors")

_held: set[int] = set()  # descriptors of markers that this process holds


def _forget() -> None:
    """A forked worker that outlives its parent must not hold the run."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Claim:
    """A run's folder, checked when made, taken by `take`, held until the end of the `with` block.

    Where the block fails before the first step of a fresh run, nothing of it is left.
    out: the folder; None is the first of runs/METHOD-1, runs/METHOD-2, ... that does not exist.
    first: whether this is the process that writes. several: whether it is one of processes that were
        started from outside, which could not agree on a fresh folder.

    Raises:
        ValueError: when the folder is not free for what is asked.
    """

    def __init__(
        self,
        out: str | Path | None,
        method: str | Callable[..., Method],
        *,
        resume: bool = False,
        overwrite: bool = False,
        first: bool = True,
        several: bool = False,
        sources: tuple[Any, ...] = (),
    ):
        if out is None and several:
            raise ValueError("processes that torchrun or SLURM starts cannot agree on a fresh folder: name one, out=")
        if resume and overwrite:
            raise ValueError("resume continues a run and overwrite deletes it: choose one")
        self.resume, self.overwrite, self.first = resume, overwrite, first
        self.name = method_name(method).rpartition(".")[2]
        self._path = None if out is None else Path(out)
        self._descriptor: int | None = None
        self._made: list[Path] = []  # folders that did not exist before, innermost first
        self._fresh = False
        self._steps: Callable[[], int] | None = None
        if first and self._path is not None:
            if overwrite:
                refuse_sources(self._path, sources)
            self._check()
            if (self._path / RUN_MARKER).exists():
                release(hold(self._path, certain=resume or overwrite))

    @property
    def path(self) -> Path:
        """The folder; a fresh one is chosen when first asked for."""
        if self._path is None:
            number = 1
            while not self._make(path := Path("runs") / f"{self.name}-{number}", fresh=True):
                number += 1
            self._path = path
        return self._path

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        begun = self._steps is not None and self._steps() > 0
        if error is not None and self._fresh and not begun:
            remove(self.path)
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            release(self._descriptor)
            self._descriptor = None
        if error is not None and not begun:
            for folder in self._made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def take(self, config: Mapping[str, Any]) -> Path:
        """Make the folder the one of a run with these settings, and no other; answers it.

        Raises:
            ValueError: when the run in it was begun with other settings, another process has it, it
                cannot be made, or overwriting it would delete what selfsight did not write.
        """
        path = self.path
        if not self.first:
            return path
        self._make(path)
        known = (path / RUN_MARKER).exists()
        try:
            self._descriptor = hold(path, certain=self.resume or self.overwrite)
        except OSError as error:
            raise ValueError(f"cannot write into {path} ({error.strerror}): choose another out") from error
        _held.add(self._descriptor)
        try:
            self._check()  # again, now that nobody else can change it
            stored = (path / "config.yaml").exists()
            if self.resume and stored:
                check_same_run(open_run(path).config, dict(config), path)
        except ValueError:
            if not known:
                (path / RUN_MARKER).unlink()
            raise
        if not (self.resume and stored):
            self._fresh = True
            remove(path, marker=False)
        mark(self._descriptor, config)
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(path / "config.yaml", text.encode())
        return path

    def watch(self, steps: Callable[[], int]) -> None:
        """Know by `steps`, which answers how many were made, whether one was."""
        self._steps = steps

    def _make(self, path: Path, *, fresh: bool = False) -> bool:
        """Make the folder; whether it is there now, and with `fresh` whether it was not there before."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=not fresh)
        except FileExistsError:
            if fresh:
                return False
            raise ValueError(f"cannot make the folder {path} (a file is in its way): choose another out") from None
        except OSError as error:
            raise ValueError(f"cannot make the folder {path} ({error.strerror}): choose another out") from error
        self._made += missing
        return True

    def _check(self) -> None:
        """Refuse to mix a run with anything else, or to delete anything but a run."""
        path = self._path
        assert path is not None
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file: name a folder with out")
        others = [name for name in os.listdir(path) if name != RUN_MARKER] if path.is_dir() else []
        if not others:
            return
        marked, begun = (path / RUN_MARKER).exists(), any((path / name).exists() for name in KEPT)
        strange = sorted(map(printable, strangers(path))) if marked else []
        if self.resume and ((path / "config.yaml").exists() or (marked and not begun and not strange)):
            return
        if self.resume:
            raise ValueError(f"{path} is not empty and holds no run (no config.yaml): choose another out")
        if not self.overwrite and (begun or not marked):
            way = "resume goes on with the run in it, overwrite deletes it first" if marked else "choose another out"
            if not marked and (path / "config.yaml").exists():
                way = "resume goes on with the run in it, or choose another out"
            raise ValueError(f"{path} is not empty: {way}")
        if not marked:
            raise ValueError(f"{path} is not empty and not known to be a run (no {RUN_MARKER}): choose another out")
        if strange:
            named = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
            raise ValueError(
                f"{path} holds what selfsight did not write ({named}), and overwrite deletes nothing but runs: "
                f"move that away, or choose another out"
            )


def hold(path: Path, *, certain: bool) -> int:
    """A descriptor of the folder's marker, which is made where there is none; nobody else holds it meanwhile.

    certain: whether the caller knows of the run in the folder; where the file system has no locks, a
        folder that is marked is otherwise taken for one in use.

    Raises:
        ValueError: when another process holds it.
    """
    marker = path / RUN_MARKER
    if os.path.lexists(marker) and (marker.is_symlink() or not marker.is_file()):
        raise ValueError(f"{marker} is no file of a run's, but a link or a folder: choose another out")
    while True:
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ValueError(f"{path} is in use{owner(marker)}: wait for that run, or choose another out") from None
        except OSError as error:  # a network file system without locks
            if os.fstat(descriptor).st_size and not certain:
                os.close(descriptor)
                raise ValueError(f"{path} may be in use{owner(marker)}: choose another out") from error
            log.warning("%s has no locks (%s): see to it that no other run writes there", path, error.strerror)
        if marker.exists() and os.path.samestat(os.fstat(descriptor), marker.stat()):
            return descriptor
        os.close(descriptor)  # its run failed and took the marker away in this moment


def release(descriptor: int) -> None:
    """Let go of a marker, also where a worker forked a moment ago has not yet closed its copy."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def mark(descriptor: int, config: Mapping[str, Any]) -> None:
    """Say in the marker whose run it is."""
    from selfsight.naming import package_version

    said = {
        "selfsight": package_version("selfsight"),
        "claimed": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "config_hash": config_hash(dict(config)),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, (json.dumps(said, indent=2) + "\n").encode(), 0)


def owner(marker: Path) -> str:
    """Who holds a marker, in words, as far as it says."""
    try:
        said = json.loads(marker.read_text())
        return f" by process {said['process']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return " by another process"


def entries(path: Path) -> Iterator[tuple[str, bool]]:
    """All that lies in a run's folder, by its name there, and whether selfsight writes such files."""
    for entry in os.scandir(path):
        if entry.name in WRITTEN and entry.is_dir(follow_symlinks=False):
            for inner in os.scandir(entry):
                yield f"{entry.name}/{inner.name}", written(inner, WRITTEN[entry.name])
        else:
            yield entry.name, written(entry, WRITTEN[""])


def written(entry: os.DirEntry, names: tuple[str, ...]) -> bool:
    """Whether this is a file, and no link, with one of the names."""
    return entry.is_file(follow_symlinks=False) and any(fnmatch.fnmatchcase(entry.name, name) for name in names)


def strangers(path: Path) -> list[str]:
    """What lies in a run's folder that selfsight did not write there."""
    return [name for name, ours in entries(path) if not ours]


def remove(path: Path, *, marker: bool = True) -> None:
    """Delete what selfsight wrote into a run's folder, the marker last, and nothing else."""
    for name, ours in list(entries(path)):
        if ours and name != RUN_MARKER:
            (path / name).unlink(missing_ok=True)
    for name in WRITTEN:
        folder = path / name
        if name and folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    if marker:
        (path / RUN_MARKER).unlink(missing_ok=True)


def refuse_sources(path: Path, sources: tuple[Any, ...]) -> None:
    """Refuse to overwrite a folder from which this very run reads.

    Raises:
        ValueError: when data or weights lie there.
    """
    own = Path(os.path.realpath(path))
    folders: dict[str, Path] = {}  # many images lie in few folders
    for part in paths_in(sources):
        try:
            if not os.path.exists(part):
                continue
        except ValueError:  # a word that names no file
            continue
        folder = os.path.dirname(os.path.abspath(part))
        if folder not in folders:
            folders[folder] = Path(os.path.realpath(folder))
        name = os.path.basename(os.path.abspath(part))
        there = Path(os.path.realpath(part)) if os.path.islink(part) else folders[folder] / name
        if own in (there, *there.parents):
            raise ValueError(f"{part} lies in {path}, which overwrite would delete: choose another out")
