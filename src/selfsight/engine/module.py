"""The training step: canvases to views, views to the method, the method's loss to the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from selfsight.data import Canvas, Lane
from selfsight.distributed import reduce_mean
from selfsight.engine.optimisers import build_optimiser, clip_gradients, scaled_rate, set_schedule
from selfsight.engine.seeds import SHARED, STEP, VIEWS, derived_seed, generator_for
from selfsight.methods.base import Method, Optimisation
from selfsight.views import Batch, ViewSet
from selfsight.views.batch import image_layout


@dataclass(frozen=True)
class Schedule:
    """How long a method trains and how it is optimised.

    micro_batches: batches of an epoch on each rank; `accumulate` of them make an optimiser step,
        and what is left over at an epoch's end is not used in that epoch.
    images_a_step: over all ranks and micro-batches.
    """

    optimisation: Optimisation
    epochs: int
    micro_batches: int
    accumulate: int
    images_a_step: int

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return self.micro_batches // self.accumulate

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.steps_an_epoch * self.epochs

    @property
    def images_seen(self) -> int:
        """Images trained on, those of every epoch counted."""
        return self.steps * self.images_a_step

    @property
    def warmup(self) -> int:
        """Optimiser steps of warm-up."""
        return round(self.optimisation.warmup_epochs * self.steps_an_epoch)


@dataclass(frozen=True)
class Position:
    """Where training stands: all that schedules, seeds and the order of the data depend on.

    step: optimiser steps done. epoch: epochs done. batch: micro-batches of this epoch done.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0


class Meter:
    """Means of what a method logs, summed on the device so that no step waits for it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """Take in one micro-batch."""
        for name, value in values.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1

    def flush(self) -> dict[str, float]:
        """Means over ranks and over what was added since the last flush."""
        if not self.count:
            return {}
        means = reduce_mean(torch.stack(list(self.sums.values())) / self.count).tolist()
        named = dict(zip(self.sums, means, strict=True))
        self.sums, self.count = {}, 0
        return named


class EpochLoader:
    """Micro-batches from where training stands to the end of the epoch, as Lightning iterates them.

    It has no length, so that Lightning looks one batch ahead and lets the lane finish its epoch.
    where: answers where training stands. waiting: the context in which the next batch is waited for.
    begin: called with the lane before its order is read, for Lightning takes the first batch before it
    says that an epoch starts.
    """

    def __init__(
        self,
        lane: Lane,
        schedule: Schedule,
        where: Callable[[], Position],
        waiting: Callable[[], AbstractContextManager] = nullcontext,
        begin: Callable[[Lane], None] | None = None,
    ):
        self.lane, self.schedule, self.where, self.waiting, self.begin = lane, schedule, where, waiting, begin

    def __iter__(self) -> Iterator[list[Canvas]]:
        if self.begin is not None:
            self.begin(self.lane)
        position = self.where()
        self.lane.load_state_dict({"epoch": position.epoch, "position": position.batch})
        left = self.schedule.steps_an_epoch * self.schedule.accumulate - position.batch
        batches = iter(self.lane)
        for _ in range(left):
            with self.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


class Training(LightningModule):
    """A method in training; knows the contract of methods and none of them."""

    def __init__(self, method: Method, views: ViewSet, schedule: Schedule, *, seed: int, rank: int = 0):
        super().__init__()
        self.method = method
        self.view_set = views
        self.schedule = schedule
        self.seed = seed
        self.shard = rank
        self.position = Position()
        self.meter = Meter()
        self.rate = 0.0
        self.latest: tuple[Batch, Tensor, int] | None = None  # batch, loss and micro-batch, until the step is done
        self.optimiser_state: dict[str, Any] | None = None
        self.encode: Callable[[Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]] | None = None

    def resume_from(self, position: dict[str, int], optimiser: dict[str, Any], meter: dict[str, Any]) -> None:
        """Stand where a checkpoint was written."""
        self.position = Position(**position)
        self.method.step = self.position.step
        self.optimiser_state = optimiser
        self.meter.sums, self.meter.count = meter["sums"], meter["count"]

    def make_views(self, canvases: list[Canvas], step: int, micro: int = 0) -> Batch:
        """The views that this rank's network sees of a batch at an optimiser step."""
        generator = generator_for(VIEWS, self.seed, step, micro, self.shard)
        with torch.autocast(canvases[0].pixels.device.type, enabled=False):
            batch = self.view_set(canvases, generator, derived_seed(SHARED, self.seed, step, micro))
        batch.views = [image_layout(view) for view in batch.views]
        return batch

    def first_batch(self, lane: Lane) -> Batch:
        """What the first step sees, in an epoch that takes each image once."""
        canvases = next(iter(EpochLoader(lane, self.schedule, Position)))
        return self.make_views(self.transfer_batch_to_device(canvases, self.device, 0), step=0)

    def training_step(self, canvases: list[Canvas], _: int) -> Tensor:
        """The loss of one micro-batch."""
        micro = self.position.batch % self.schedule.accumulate
        batch = self.make_views(canvases, self.position.step, micro)
        # dropout and its kin follow the step alone, so that a resumed run draws what an unbroken one draws
        torch.manual_seed(derived_seed(STEP, self.seed, self.position.step, micro, self.shard))
        self.method.step = self.position.step
        outcome = self.method(batch)
        self.meter.add(outcome)
        self.latest = batch, outcome["loss"].detach(), micro
        return outcome["loss"]

    def begin_epoch(self, lane: Lane) -> None:
        """Let methods that cluster see all the data once an epoch, and those with a say in the order have it."""
        clusters = type(self.method).before_epoch is not Method.before_epoch
        if clusters and self.position.batch == 0:
            assert self.encode is not None
            torch.manual_seed(derived_seed(STEP, self.seed, self.position.step, self.position.epoch))
            self.method.before_epoch(self.encode)
        lane.draw_by(self.method.sampling())

    def on_after_backward(self) -> None:
        """The method's own edits of gradients, and of its memories."""
        self.method.end_backward()
        self.position = replace(self.position, batch=self.position.batch + 1)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Schedules and clipping."""
        schedule, optimisation = self.schedule, self.schedule.optimisation
        peak = scaled_rate(optimisation, schedule.images_a_step)
        self.rate = set_schedule(optimizer, optimisation, peak, self.position.step, schedule.steps, schedule.warmup)
        if optimisation.clip is not None:
            clip_gradients(self.method, optimisation.clip, optimisation.clip_by)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """One optimiser step, then the teacher's."""
        super().optimizer_step(*arguments, **options)
        self.latest = None
        self.position = replace(self.position, step=self.position.step + 1)
        self.method.step = self.position.step
        self.method.after_step(self.position.step)

    def end_epoch(self) -> None:
        """Count the epoch as done."""
        self.position = replace(self.position, epoch=self.position.epoch + 1, batch=0)

    @property
    def epoch_complete(self) -> bool:
        """Whether all steps of the running epoch are done."""
        return self.position.batch >= self.schedule.steps_an_epoch * self.schedule.accumulate

    @property
    def between_steps(self) -> bool:
        """Whether no gradient is half accumulated."""
        return self.position.batch % self.schedule.accumulate == 0

    @property
    def optimiser(self) -> Optimizer:
        """The one optimiser."""
        (only,) = self.trainer.optimizers
        return only

    def configure_optimizers(self) -> Optimizer:
        """The optimiser, as a checkpoint left it where there is one."""
        optimiser = build_optimiser(self.method.param_groups(), self.schedule.optimisation)
        if self.optimiser_state is not None:
            optimiser.load_state_dict(self.optimiser_state)
            self.optimiser_state = None
        return optimiser

    def transfer_batch_to_device(self, batch: list[Canvas], device: torch.device, _: int) -> list[Canvas]:
        """Canvases in the source's dtype, a quarter of what float views would cost to move."""
        return [canvas.to(device, non_blocking=True) for canvas in batch]
