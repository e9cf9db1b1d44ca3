"""What a run leaves on disk while it trains: checkpoints, the encoder, the summary."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from selfsight.data import BadImages
from selfsight.engine.checkpoints import read_checkpoint, save_checkpoint
from selfsight.engine.diagnosis import KEPT, keep
from selfsight.engine.hardware import Hardware, describe_hardware
from selfsight.engine.module import Training
from selfsight.engine.published import save_method
from selfsight.engine.run_folder import config_hash
from selfsight.methods.base import Plan
from selfsight.nets import save_encoder
from selfsight.outputs import write_atomically


@dataclass
class Recorder:
    """Writes a run's checkpoints, encoder and summary, and reads a checkpoint back.

    names: what a checkpoint must share with the run that resumes from it, by name.
    images: what the summary says of the images. bad: those that could not be read.
    plan: what the method was told before it began.
    """

    path: Path
    config: dict[str, Any]
    names: dict[str, Any]
    images: dict[str, Any]
    bad: list[BadImages]
    hardware: Hardware
    plan: Plan

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    def save(self, training: Training, watched: dict[str, Any]) -> None:
        """Write all that a resumed run needs; `watched` is the supervisor's state."""
        state = {
            "names": self.names,
            "position": vars(training.position),
            "method": training.method.state_dict(),
            "optimiser": training.optimiser.state_dict(),
            "meter": {"sums": training.meter.sums, "count": training.meter.count},
            "supervisor": watched,
        }
        save_checkpoint(self.checkpoint, state)

    def keep_batch(self, training: Training, found: str) -> Path:
        """Write the batch of the present step and the method before it, for `replay`."""
        assert training.latest is not None
        batch, _, micro = training.latest
        place = {"step": training.position.step, "micro": micro, "seed": training.seed, "rank": training.shard}
        keep(self.path, training.method, batch, **place, found=found, plan=dict(vars(self.plan)))
        return self.path / KEPT

    def restore(self, training: Training) -> dict[str, Any]:
        """Put a training back to where the checkpoint was written; answers the supervisor's state.

        Raises:
            ValueError: when the checkpoint is of another method or encoder, naming the difference.
        """
        state = read_checkpoint(self.checkpoint)
        check_names(self.checkpoint, state["names"], self.names)
        check_tensors(self.checkpoint, state["method"], training.method.state_dict())
        training.method.load_state_dict(state["method"])
        training.resume_from(state["position"], state["optimiser"], state["meter"])
        return state["supervisor"]

    def publish(self, training: Training, outcome: dict[str, Any]) -> None:
        """Write the encoder and the whole method as they are now, and the summary."""
        position = training.position
        done = {"method": self.config["method"], "epoch": position.epoch, "step": position.step}
        save_encoder(training.method.exported, self.path, **done)
        save_method(training.method, self.path, self.config)
        self.summarise(training, outcome)

    def summarise(self, training: Training, outcome: dict[str, Any]) -> None:
        """Write `summary.json`."""
        position, schedule = training.position, training.schedule
        summary = {
            "finished": position.epoch >= schedule.epochs,
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "method": self.config["method"],
            "encoder": self.config["encoder"],
            "config_hash": config_hash(self.config),
            "epochs": position.epoch,
            "steps": position.step,
            **outcome,
            "images_per_second": round(position.step * schedule.images_a_step / max(outcome["seconds"], 1e-9), 1),
            **self.images,
            "bad_images": [name for bad in self.bad for name in bad.names],
            **describe_hardware(self.hardware),
        }
        text = json.dumps(without_nan(summary), indent=2, allow_nan=False) + "\n"
        write_atomically(self.path / "summary.json", text.encode())


def without_nan(value: Any) -> Any:
    """What JSON can hold: numbers that are none, as those of a diverged run, become null."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_names(path: Path, stored: dict[str, Any], names: dict[str, Any]) -> None:
    """Refuse a checkpoint of another method, encoder, images or number of processes."""
    for name, value in names.items():
        if stored.get(name) != value:
            if name == "images":
                raise ValueError(
                    f"{path} was written with other images, or the same in another order: "
                    f"give it those it began with, or choose another out"
                )
            changed = "the data set has changed; " if name == "training images" else ""
            raise ValueError(
                f"{path} was written with {name} {stored.get(name)!r}, not {value!r}: "
                f"{changed}repeat that, or choose another out"
            )


def check_tensors(path: Path, stored: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse a checkpoint whose tensors differ in name or shape, naming the first that does."""
    hint = "resume with the options that the run was begun with"
    for name in [*stored, *own]:
        if name not in stored or name not in own:
            where = "the checkpoint" if name not in stored else "this method"
            raise ValueError(f"{path} does not fit: {where} has no {name!r}; {hint}")
        there, here = stored[name], own[name]
        if isinstance(here, Tensor) and there.shape != here.shape:
            shapes = f"{tuple(there.shape)} there, {tuple(here.shape)} here"
            raise ValueError(f"{path} does not fit: {name!r} is {shapes}; {hint}")
