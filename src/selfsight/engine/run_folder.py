"""The folder that holds all of a run: what was asked, what happened, what was learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pandas as pd

    from selfsight.nets import Encoder

# What says where or how a run is carried out, and not what it computes: free to differ on resuming.
FREE = {"data", "workers", "lane", "devices", "checkpoint_minutes", "on_alarm", "max_bad", "compile"}


@dataclass(frozen=True)
class Run:
    """A training run on disk.

    path: the folder, with `config.yaml`, `metrics.csv`, `views.png`, `log.txt`, `summary.json`,
        `encoder.safetensors`, `encoder.json`, `method.safetensors`, `method.json` and `checkpoints/last.ckpt`.
    """

    path: Path

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings; `selfsight pretrain --config RUN/config.yaml` runs them again."""
        file = self.path / "config.yaml"
        if not file.is_file():  # reading a pipe may never end
            raise ValueError(f"{file} is no file: choose another run")
        try:
            config = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{file} is no longer readable ({' '.join(str(error).split())}): choose another run"
            ) from error
        if not isinstance(config, dict):
            raise ValueError(f"{file} holds no settings of a run: choose another run")
        return config

    @property
    def summary(self) -> dict[str, Any]:
        """Outcome, hardware, versions, images left out and images held out; empty before the first epoch ends."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def metrics(self) -> pd.DataFrame:
        """All logged points, a row each."""
        import pandas as pd

        from selfsight.engine.metrics import read_rows

        columns, rows = read_rows(self.path / "metrics.csv")
        return pd.DataFrame({name: [number(row[name]) for row in rows] for name in columns})

    @property
    def finished(self) -> bool:
        """Whether training reached its last epoch."""
        return bool(self.summary.get("finished", False))

    @cached_property
    def encoder(self) -> Encoder:
        """The trained encoder, on the CPU and in evaluation mode."""
        from selfsight.nets import load_encoder

        return load_encoder(self.path)


def number(cell: str) -> float:
    """What a cell of a table of metrics says; an empty one is NaN, as is what a diverged run logged."""
    return int(cell) if cell.isdigit() else float(cell or "nan")


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        ValueError: when the folder holds no run.
    """
    path = Path(path)
    if not (path / "config.yaml").exists():
        raise ValueError(f"{path} holds no run (no config.yaml): name a folder that pretrain wrote")
    return Run(path)


def check_same_run(stored: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    """Refuse to resume a run under other settings than those it began with.

    Raises:
        ValueError: naming each setting that differs.
    """
    names = [name for name in {**stored, **config} if name not in FREE]
    if stored.get("method") != config.get("method"):
        names = ["method", "encoder"]  # rates and views follow from the method and only hide what is wrong
    differ = differences(stored, config, names)
    if differ:
        raise ValueError(
            f"{path} was begun with other settings: {'; '.join(differ)}. Repeat them, or choose another out"
        )


def differences(stored: dict[str, Any], config: dict[str, Any], names: Iterable[str], head: str = "") -> list[str]:
    """What was one thing and is now another, each by its dotted name."""
    texts = []
    for name in names:
        was, now = stored.get(name), config.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            texts += differences(was, now, {**was, **now}, f"{head}{name}.")
        elif was != now:
            texts.append(f"{head}{name} was {was!r}, now {now!r}")
    return texts


def config_hash(config: dict[str, Any]) -> str:
    """Twelve hex digits that settings share exactly when they compute the same thing."""
    text = json.dumps({name: value for name, value in config.items() if name not in FREE}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
