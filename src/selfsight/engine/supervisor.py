"""What happens around the steps: rows of metrics, measurements, alarms, checkpoints, stopping."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from selfsight.distributed import reduce_max, world_size
from selfsight.engine.alarms import Alarm, find_alarms
from selfsight.engine.diagnosis import first_non_finite, goes_wrong
from selfsight.engine.metrics import Metrics
from selfsight.engine.module import Training
from selfsight.engine.monitor import LEAST_OFTEN, Monitor, Ration
from selfsight.engine.progress import Progress
from selfsight.engine.recorder import Recorder
from selfsight.engine.seeds import STEP, derived_seed
from selfsight.engine.signals import Leave, StopRequest

log = logging.getLogger(__name__)

LOG_EVERY = 50
AGREE_EVERY = 10
FEW_STEPS = 100  # in fewer, measurements within an epoch would be the larger part of the work


class Supervisor(Callback):
    """Watches a training and writes down what it sees.

    recorder and metrics are None on all ranks but the first. Saving at an epoch's end is left out
    where epochs are so short that writing would take more than 5 % of the time; the last epoch is
    always written.
    """

    def __init__(
        self,
        *,
        recorder: Recorder | None,
        metrics: Metrics | None,
        monitor: Monitor | None,
        progress: Progress,
        stop: StopRequest,
        waited: Callable[[], float],
        checkpoint_minutes: float,
        on_alarm: str,
        max_minutes: float | None = None,
    ):
        self.metrics, self.monitor, self.progress, self.stop = metrics, monitor, progress, stop
        self.recorder, self.waited = recorder, waited
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.on_alarm = on_alarm
        self.most_seconds = math.inf if max_minutes is None else 60 * max_minutes
        self.writing = Ration(0.05)
        self.measured: dict[str, float] = {}  # the latest of each name
        self.raised: dict[str, Alarm] = {}  # alarms that hold at present
        self.reason: str | None = None  # why training stops early
        self.seconds_before = 0.0
        self.examined = False  # whether a non-finite number was traced
        self.tenths = 0  # of the training, at the last measurement

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self.seconds_before + time.monotonic() - self.started

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        rations = self.monitor.rations() if self.monitor is not None else {}
        return {"seconds": self.seconds, "measured": dict(self.measured), "rations": rations, "tenths": self.tenths}

    def outcome(self) -> dict[str, Any]:
        """What `summary.json` says of how it went."""
        return {"stopped": self.reason, "seconds": round(self.seconds, 1), "final": dict(self.measured)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.seconds_before = state["seconds"]
        self.measured = dict(state["measured"])
        self.tenths = state.get("tenths", 0)
        self.progress.values |= self.measured
        if self.monitor is not None:
            self.monitor.set_rations(state["rations"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks, and take the signals from Lightning, which would leave in the middle of a step."""
        assert isinstance(pl_module, Training)
        self.started = self.saved = time.monotonic()
        self._mark(pl_module)
        self.stop.take_over()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """From the first step on a signal waits for the step to be done; numbers are looked at before it."""
        assert isinstance(pl_module, Training)
        self.stop.be_patient()
        # a GPU would have to be waited for at each step: it is looked at where a row is written anyway
        now = pl_module.device.type == "cpu" or (pl_module.position.step + 1) % LOG_EVERY == 0
        if now and not self.examined and self.recorder is not None and pl_module.latest is not None:
            self._examine(trainer, pl_module)

    def _examine(self, trainer: Trainer, training: Training) -> None:
        """Name the first tensor that is not finite, once, and keep its batch."""
        assert self.recorder is not None and training.latest is not None
        batch, loss, micro = training.latest
        if not goes_wrong(training.method, loss):
            return
        self.examined, step = True, training.position.step
        seed = derived_seed(STEP, training.seed, step, micro, training.shard) if world_size() == 1 else None
        with trainer.precision_plugin.forward_context():
            found = first_non_finite(training.method, batch, seed) or "the loss or a gradient of an earlier micro-batch"
        kept = self.recorder.keep_batch(training, found)
        self.progress.clear()
        how = f"selfsight.engine.replay({str(self.recorder.path)!r})"
        log.warning("non-finite at step %d, first: %s; %s keeps the batch, for %s", step + 1, found, kept, how)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what there is where waiting for images was ended by a signal or by a worker's death."""
        assert isinstance(pl_module, Training)
        position = pl_module.position
        if not (self.stop.between and position.step and pl_module.between_steps):
            return
        self._keep(pl_module)
        if isinstance(exception, Leave):
            self.reason = "interrupted"
        elif self.recorder is not None and self.recorder.checkpoint.exists():
            log.warning("a checkpoint at step %d is written: go on with resume", position.step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """After each micro-batch; the rest happens between optimiser steps alone."""
        assert isinstance(pl_module, Training)
        if not pl_module.between_steps:
            return
        position = pl_module.position
        self.progress.update(position.step, position.epoch + 1)
        if pl_module.epoch_complete:
            return  # the epoch's end sees to it
        due = self.monitor is not None and pl_module.schedule.steps >= FEW_STEPS and self._due(pl_module)
        if due or position.step % LOG_EVERY == 0:
            row = self._row(pl_module)
            if due:
                row |= self._measure(trainer, pl_module, row)
                self._mark(pl_module)  # the time that it took is not training's
            self._log(trainer, pl_module, row)
        self._obey_wishes(trainer, position.step)
        if not trainer.should_stop and time.monotonic() - self.saved >= self.checkpoint_seconds:
            self._keep(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, log, write; or, when stopped within the epoch, only keep what there is."""
        assert isinstance(pl_module, Training)
        if not pl_module.epoch_complete:
            self._keep(pl_module)
            return
        row = self._row(pl_module)
        pl_module.end_epoch()
        position = pl_module.position
        last = position.epoch == pl_module.schedule.epochs
        row["epoch"] = position.epoch
        row |= self._measure(trainer, pl_module, row, always=last or position.epoch == 1)
        self._log(trainer, pl_module, row)
        self.progress.update(position.step, position.epoch, row, ended=True)
        self._obey_wishes(trainer, 0)
        if last or trainer.should_stop or self.writing.allows(self.seconds):
            with self.writing.use():
                self._keep(pl_module)
        self._mark(pl_module)

    def _due(self, training: Training) -> bool:
        """Whether another tenth of the training has passed since the last measurement."""
        return LEAST_OFTEN * training.position.step // training.schedule.steps > self.tenths

    def _measure(
        self, trainer: Trainer, training: Training, row: dict[str, float], *, always: bool = False
    ) -> dict[str, float]:
        if self.monitor is None:
            return {}
        # every rank measures the same images, since a method may talk to the others within; rank 0's clock decides
        due = self._due(training) and all(map(math.isfinite, row.values()))  # what diverged is not looked at again
        own = self.monitor.allowed(self.seconds, due=due, always=always)
        allowed = trainer.strategy.broadcast(own)
        self.tenths = LEAST_OFTEN * training.position.step // training.schedule.steps
        return self.monitor.measure(allowed, training.device)

    def _row(self, training: Training) -> dict[str, float]:
        """Means and rates since the row before."""
        position, now = training.position, time.monotonic()
        seconds = max(now - self._row_time, 1e-9)
        means = training.meter.flush()
        images = (position.step - self._row_step) * training.schedule.images_a_step
        waited = self.waited()
        row = {
            "epoch": position.epoch + position.batch / training.schedule.micro_batches,
            "seconds": self.seconds,
            **means,
            "lr": training.rate,
            "images_per_second": images / seconds,
            "data_wait": (waited - self._row_wait) / seconds,
        }
        self._mark(training)
        return row

    def _mark(self, training: Training) -> None:
        """Begin a new interval."""
        self._row_time, self._row_step, self._row_wait = time.monotonic(), training.position.step, self.waited()

    def _log(self, trainer: Trainer, training: Training, row: dict[str, float]) -> None:
        if self.metrics is not None:
            self.metrics.log(training.position.step, row)
        self.progress.update(training.position.step, training.position.epoch + 1, row)
        self._raise_alarms(trainer, training, row)
        self.measured |= row

    def _raise_alarms(self, trainer: Trainer, training: Training, row: dict[str, float]) -> None:
        found = {alarm.name: alarm for alarm in find_alarms({**row, "step": training.position.step}, self.measured)}
        for name, alarm in found.items():
            if name not in self.raised:
                self.progress.clear()
                log.warning("%s", alarm)
        self.raised = found
        fatal = next((f"alarm: {alarm}" for alarm in found.values() if alarm.fatal and self.on_alarm == "stop"), None)
        if "non-finite" in found and not all_finite(training):
            fatal = "the weights are no longer finite; the last checkpoint is from before"
        fatal = trainer.strategy.broadcast(fatal)  # ranks time their data apart, and must not part here
        if fatal is not None:
            self._stop(trainer, fatal)

    def _obey_wishes(self, trainer: Trainer, step: int) -> None:
        """Stop after a signal or when time is up; ranks agree on it every few steps, to do the same number."""
        late = time.monotonic() - self.started >= self.most_seconds
        wished = late or self.stop.signal is not None
        if world_size() > 1:
            if step % AGREE_EVERY:
                return
            device = trainer.strategy.root_device
            wished = bool(reduce_max(torch.tensor(float(wished), device=device)).item())
        if wished:
            self._stop(trainer, "max_minutes are over" if late else "interrupted")

    def _stop(self, trainer: Trainer, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            log.warning("stopping: %s", reason)
        trainer.should_stop = True

    def _keep(self, training: Training) -> None:
        """Write a checkpoint and the encoder as it is, so that a run stopped in its first epoch has one, too."""
        self.saved = time.monotonic()
        if self.recorder is not None and all_finite(training):
            self.recorder.save(training, self.state_dict())
            self.recorder.publish(training, self.outcome())


def all_finite(training: Training) -> bool:
    """Whether every weight is a number; waits for the device."""
    finite = [parameter.detach().isfinite().all() for parameter in training.method.parameters()]
    return bool(torch.stack(finite).all())
