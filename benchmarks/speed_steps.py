"""A training step, end to end, against the same method's compute on tensors that are ready."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import selfsight
from selfsight.data import ResidentLane, open_source
from selfsight.data.subsets import limited
from selfsight.engine import choose_hardware
from selfsight.engine.build import build_augmentation, build_for, build_method, choose_optimisation
from selfsight.engine.module import Schedule
from selfsight.engine.optimisers import build_optimiser, set_schedule
from selfsight.engine.train import prepare_method
from selfsight.views import Batch
from settings import EXCEPTIONS, settings
from timing import Rates, rate, table

TITLE = "Steps"
BATCH, STEPS = 256, 6


def run(options: argparse.Namespace) -> str:
    """One row a method."""
    rows = [row(method, options) for method in options.methods or EXCEPTIONS]
    return "\n\n".join(
        [
            f"Images a second of `pretrain` (its last epoch: data, views, method, hooks, optimiser, logging; resident "
            f"lane, without monitor) and of the same method's forward, loss, backward and optimiser on one ready batch "
            f"of {BATCH}, alternately, {STEPS} steps each. CIFAR-10, the nets and settings of the learning benchmark. "
            "The overhead is the ratio of the two times a step, less 1.",
            table(["method", "pretrain", "ready tensors", "overhead"], rows),
        ]
    )


def row(method: str, options: argparse.Namespace) -> list[str]:
    """Rates of both programs, and what everything around the compute costs."""
    images = limited(open_source(options.data, split="train"), BATCH * STEPS, seed=0)
    chosen = {**settings(method), "epochs": 2, "batch_size": BATCH, "monitor": False, "devices": options.device}
    compute = ready_steps(images, chosen)
    compute()
    whole: list[float] = []
    ready: list[float] = []
    for _ in range(options.rounds // 2 + 1):
        whole.append(trained(images, chosen))
        ready.append(rate(compute, options.device))
    overhead = Rates([100 * (theirs / ours - 1) for ours, theirs in zip(whole, ready, strict=True)])
    return [method, str(Rates(whole)), str(Rates(ready)), f"{overhead} %"]


def trained(images: Any, chosen: dict[str, Any]) -> float:
    """Images a second in the last epoch of a run."""
    with tempfile.TemporaryDirectory() as folder:
        run = selfsight.pretrain(images, **chosen, out=Path(folder) / "run")
        return float(run.metrics["images_per_second"].iloc[-1])


def ready_steps(images: Any, chosen: dict[str, Any]) -> Callable[[], int]:
    """Steps of a method on a batch that is made once."""
    hardware = choose_hardware(chosen["devices"], "auto")
    net = build_for(images, chosen["encoder"], chosen["image_size"], None, seed=0)
    method = build_method(chosen["method"], net, chosen.get("method_options"))
    names = ("optimizer", "lr", "weight_decay", "warmup_epochs")
    optimisation = choose_optimisation(
        method.optimisation, epochs=2, clip=None, **{name: chosen.get(name) for name in names}
    )
    schedule = Schedule(optimisation, 2, STEPS, 1, BATCH)
    method = prepare_method(method, images, schedule, hardware, compiled=False).to(hardware.device).train()
    batch = ready_batch(images, method, chosen, hardware.device)
    optimiser = build_optimiser(method.param_groups(), optimisation)

    def steps() -> int:
        for step in range(STEPS):
            method.step = step
            with hardware.autocast():
                loss = method(replace(batch, views=list(batch.views)))["loss"]
            loss.backward()
            method.end_backward()
            set_schedule(optimiser, optimisation, optimisation.lr, step, schedule.steps, schedule.warmup)
            optimiser.step()
            optimiser.zero_grad()
            method.after_step(step + 1)
        return STEPS * BATCH

    return steps


def ready_batch(images: Any, method: Any, chosen: dict[str, Any], device: torch.device) -> Batch:
    """One batch of views, laid out as training lays them out."""
    spec = method.encoder.spec
    views = method.views(chosen["image_size"], build_augmentation(method, chosen["view_options"]))
    canvases = next(iter(ResidentLane(images, BATCH)))
    batch = views.normalised(spec.mean, spec.std)([canvas.to(device) for canvas in canvases], torch.Generator())
    return replace(batch, views=[view.contiguous(memory_format=torch.channels_last) for view in batch.views])
