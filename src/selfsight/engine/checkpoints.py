"""Checkpoints that a kill at any moment leaves valid."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from selfsight.outputs import replacing

DAMAGED = "put a copy in its place, or begin again with overwrite"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings and containers of them) to `path`, atomically."""
    try:
        with replacing(path) as file:
            torch.save(state, file)
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
    except (RuntimeError, OSError, EOFError, UnpicklingError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged and cannot be read ({short(error)}): {DAMAGED}") from error
    if not isinstance(state, dict) or not {"names", "position", "method"} <= state.keys():
        raise ValueError(f"{path} is no checkpoint of selfsight: {DAMAGED}")
    return state


def short(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
