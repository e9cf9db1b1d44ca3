"""selfsight trains vision encoders without labels and shows what they learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from selfsight.embed import embed
from selfsight.evaluate import evaluate
from selfsight.export import export
from selfsight.pretrain import pretrain

if TYPE_CHECKING:
    from selfsight.engine import Run
    from selfsight.nets import Encoder

__all__ = ["embed", "evaluate", "export", "load_encoder", "open_run", "pretrain"]


def load_encoder(path: str | Path) -> Encoder:
    """The encoder of a run folder or an `encoder.safetensors`, rebuilt exactly, in evaluation mode.

    Raises:
        ValueError: when anything is missing, left over or of another shape.
    """
    from selfsight.nets import load_encoder as load

    return load(path)


def open_run(path: str | Path) -> Run:
    """The run in a folder that `pretrain` wrote.

    Raises:
        ValueError: when the folder holds no run.
    """
    from selfsight.engine import open_run as open_folder

    return open_folder(path)
