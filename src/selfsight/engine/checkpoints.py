"""Checkpoints that a kill at any moment leaves valid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

DAMAGED = "put a copy in its place, or begin again with overwrite"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` puts into a file, or leave it as it was.

    The new file is written beside the old one, so that a full disk or another file system
    cannot destroy it, and it reaches the disk before it takes the old one's name.

    Raises:
        OSError: when the disk is full or refuses; the former file stays valid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings and containers of them) to `path`, atomically."""
    try:
        write_atomically(path, lambda file: torch.save(state, file))
    except (OSError, RuntimeError) as error:
        # torch's zip writer reports a failed write as a RuntimeError raised over the OSError
        if isinstance(error, RuntimeError) and not isinstance(error.__context__, OSError):
            raise
        cause = error if isinstance(error, OSError) else error.__context__
        former = "the former checkpoint is still valid" if path.exists() else "there is no former checkpoint"
        raise OSError(f"cannot write {path} ({cause}): {former}; make room and go on with resume") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`, on the CPU; never unpickles code."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: nothing to resume; leave resume out, or name the run's folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged and cannot be read ({short(error)}): {DAMAGED}") from error
    if not isinstance(state, dict) or not {"names", "position", "method"} <= state.keys():
        raise ValueError(f"{path} is no checkpoint of selfsight: {DAMAGED}")
    return state


def short(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
