"""Putting a training together, and letting Lightning run it."""

from __future__ import annotations

import copy
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from selfsight.data import (
    BadImages,
    Lane,
    ResidentLane,
    Source,
    StreamingLane,
    identity,
    numeric_metadata,
    open_lane,
)
from selfsight.data.lanes import MARGIN, decoded_bytes
from selfsight.data.sizes import alike
from selfsight.distributed import convert_sync_batchnorm, gather
from selfsight.engine.hardware import Hardware, Place, place, reproducible
from selfsight.engine.images import Images, at_positions, has_classes, stratified_sample
from selfsight.engine.meeting import Started
from selfsight.engine.metrics import Metrics
from selfsight.engine.module import EpochLoader, Position, Schedule, Training
from selfsight.engine.monitor import Buffers, Monitor, affordable
from selfsight.engine.optimisers import scaled_rate
from selfsight.engine.progress import Progress
from selfsight.engine.recorder import Recorder
from selfsight.engine.signals import Leave, StopRequest
from selfsight.engine.small_maps import guard_small_maps
from selfsight.engine.supervisor import Supervisor
from selfsight.methods.base import Method, Optimisation, Plan
from selfsight.nets import Frozen, attend_by_products, evaluating, has_few_tokens
from selfsight.views import Augmentation, ViewSet, original, two_views

log = logging.getLogger(__name__)

BUFFER_BYTES = 600e6
MONITOR_BATCH = 256


def largest_view(views: ViewSet) -> int:
    """Pixels of the longest side of any view, before it is cut into tiles."""
    return max(view.size if isinstance(view.size, int) else max(view.size) for view in views.views)


def open_training_lane(
    source: Source,
    views: ViewSet,
    hardware: Hardware,
    *,
    batch_size: int,
    lane: Literal["auto", "resident", "streaming"],
    workers: int | None,
    seed: int,
    max_bad: int | float | None,
) -> Lane:
    """The lane that training reads, on this rank."""
    opened = open_lane(
        source,
        batch_size,
        lane=lane,
        view_size=largest_view(views),
        device=hardware.device,
        workers=workers,
        seed=seed,
        rank=hardware.rank,
        world_size=hardware.world,
        sharers=hardware.local_world,
        bad=BadImages(max_bad),
    )
    log.info("%s", opened.reason)
    return opened


def make_schedule(optimisation: Optimisation, epochs: int, lane: Lane, accumulate: int) -> Schedule:
    """How long to train; refuses an epoch without a single optimiser step."""
    for name, value in (("epochs", epochs), ("accumulate", accumulate)):
        if value < 1:
            raise ValueError(f"{name} is at least 1, not {value}")
    if len(lane) < accumulate:
        raise ValueError(
            f"a step takes {accumulate} batches of {lane.batch_size} images and an epoch has only {len(lane)}: "
            f"lower accumulate to at most {len(lane)}, or batch_size"
        )
    return Schedule(optimisation, epochs, len(lane), accumulate, lane.batch_size * lane.world_size * accumulate)


def prepare_method(method: Method, source: Source, schedule: Schedule, hardware: Hardware, *, compiled: bool) -> Method:
    """The method told how long it trains, laid out for the hardware."""
    method.prepare(plan_of(source, schedule))
    if hardware.world > 1:
        method = convert_sync_batchnorm(method, hardware.device)
    if method.encoder.spec.dims == 2:
        method = method.to(memory_format=torch.channels_last)
    if (hardware.accelerator, hardware.precision) == ("cpu", "bf16"):
        guard_small_maps(method)
        if has_few_tokens(method.encoder):
            attend_by_products(method)
    if compiled:
        method.encoder.compile()
    return method


def plan_of(source: Source, schedule: Schedule) -> Plan:
    """What `Method.prepare` is told."""
    return Plan(
        samples=len(source),
        batch=schedule.images_a_step // schedule.accumulate,
        steps=schedule.steps,
        epochs=schedule.epochs,
        metadata=numeric_metadata(source),
    )


def make_monitor(
    training: Training,
    images: Images,
    lane: Lane,
    augmentation: Augmentation,
    hardware: Hardware,
    *,
    workers: int | None,
) -> Monitor | None:
    """The monitor with its buffers in memory, or None where nothing is held out."""
    if images.held_out is None:
        return None
    seed, spec = training.seed, training.method.encoder.spec
    size, sizes = alike(spec.size), affordable(training.schedule.images_seen)
    labelled = has_classes(images.train) and has_classes(images.held_out)
    readable = at_positions(images.train, lane.members)
    batch = math.ceil(sizes.health / math.ceil(sizes.health / MONITOR_BATCH))  # whole batches, no image more

    def buffer(source: Source, most: int) -> ResidentLane:
        decoded = math.ceil(MARGIN * max(spec.size))
        fitting = max(1, int(len(source) * min(1.0, BUFFER_BYTES / max(1, decoded_bytes(source, decoded)))))
        return ResidentLane(
            stratified_sample(source, min(most, fitting), seed),
            batch,
            size=decoded,
            threads=workers,
            shuffle=False,
            drop_last=False,
            bad=BadImages(1.0),
        )

    return Monitor(
        training.method,
        Buffers(buffer(images.held_out, sizes.queries), buffer(readable, sizes.bank) if labelled else None),
        pair=two_views(size, augmentation).normalised(spec.mean, spec.std),
        plain=original(size).normalised(spec.mean, spec.std),
        for_progress=training.method.watched(size, augmentation).normalised(spec.mean, spec.std),
        autocast=hardware.autocast,
        health_images=sizes.health,
        seed=seed,
    )


def encoder_of_all(
    method: Method, lane: Lane, samples: int, hardware: Hardware
) -> Callable[[Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]:
    """The `encode` that `Method.before_epoch` receives; rows of unreadable images are zero, and not known."""
    spec = method.encoder.spec
    plain = original(alike(spec.size)).normalised(spec.mean, spec.std)

    def encode(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        rows, indices = [], []
        with torch.no_grad(), evaluating(method):
            for canvases in in_order(lane):
                batch = plain([canvas.to(hardware.device) for canvas in canvases], torch.Generator())
                with hardware.autocast():
                    rows.append(function(batch.views[0]).float())
                indices.append(batch.index)
            features, index = gather(torch.cat(rows)), gather(torch.cat(indices))
        known = torch.zeros(samples, dtype=torch.bool, device=features.device).index_fill_(0, index, True)
        return features.new_zeros(samples, *features.shape[1:]).index_copy_(0, index, features), known

    return encode


def in_order(lane: Lane) -> Iterator[list]:
    """Every image of this rank's share once, in the source's order."""
    if isinstance(lane, ResidentLane):
        ordered: Lane = copy.copy(lane)  # the same pixels, another way through them
        ordered.shuffle = ordered.drop_last = False
        ordered.load_state_dict({"epoch": 0, "position": 0})
    else:
        assert isinstance(lane, StreamingLane)
        ordered = open_lane(
            lane.source,
            lane.batch_size,
            lane="streaming",
            view_size=None if lane.size is None else math.floor(lane.size / MARGIN),
            shuffle=False,
            drop_last=False,
            rank=lane.rank,
            world_size=lane.world_size,
            bad=lane.bad,
        )
    yield from ordered


def make_trainer(hardware: Hardware, schedule: Schedule, position: Position, supervisor: Supervisor) -> Trainer:
    """Lightning's trainer for what is left to do, without its own logging, bars and checkpoints."""
    return Trainer(
        accelerator="cpu" if hardware.accelerator == "cpu" else "gpu",
        devices=hardware.local_world,
        num_nodes=hardware.world // hardware.local_world,
        # methods may leave a parameter out of a step, such as a ViT's class token that pooling ignores; their
        # buffers are the same on every rank already, and a memory of all images is too large to send at each step
        strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False) if hardware.world > 1 else "auto",
        precision="bf16-mixed" if hardware.precision == "bf16" else "32-true",
        max_epochs=schedule.epochs - position.epoch,
        accumulate_grad_batches=schedule.accumulate,
        callbacks=[supervisor],
        plugins=[Started(place() if hardware.external else Place())],  # Lightning would look for SLURM and others
        benchmark=hardware.accelerator == "gpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's tips: what they advise on is decided here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def make_supervisor(
    path: Path,
    config: dict[str, Any],
    training: Training,
    lane: Lane,
    monitor: Monitor | None,
    images: Images,
    hardware: Hardware,
    *,
    stop: StopRequest,
    max_minutes: float | None = None,
) -> tuple[Recorder, Supervisor]:
    """Who writes down what happens, and who watches it."""
    announce(training.schedule, images)
    names = {name: config[name] for name in ("method", "encoder")}
    spec = training.method.encoder.spec
    names |= {"training images": len(images.train), "images": identity(images.train), "processes": hardware.world}
    names["mean, std and range"] = " ".join(f"{value:.6g}" for value in (*spec.mean, *spec.std, *spec.value_range))
    names |= {
        f"guest {name}": part.digest for name, part in training.method.named_modules() if isinstance(part, Frozen)
    }
    bad = [lane.bad] if monitor is None else [lane.bad, monitor.buffers.held_out.bad]
    looked_at = {} if monitor is None else monitor.describe()
    recorder = Recorder(path, config, names, {**images.describe(), **looked_at}, bad, hardware, training.method.plan)
    first = hardware.rank == 0
    supervisor = Supervisor(
        recorder=recorder if first else None,
        metrics=Metrics(path) if first else None,
        monitor=monitor,
        progress=Progress(training.schedule.epochs, training.schedule.steps, sys.stderr if first else None),
        stop=stop,
        waited=lambda: lane.wait,
        checkpoint_minutes=config["checkpoint_minutes"],
        on_alarm=config["on_alarm"],
        max_minutes=max_minutes,
    )
    return recorder, supervisor


def announce(schedule: Schedule, images: Images) -> None:
    """Say what is about to happen: the images, the optimiser, the steps."""
    log.info("%d training images; held out for the monitor: %s", len(images.train), images.origin)
    optimisation, images_a_step = schedule.optimisation, schedule.images_a_step
    peak = scaled_rate(optimisation, images_a_step)
    rule = "" if peak == optimisation.lr else f" ({optimisation.lr:g} for {optimisation.reference_batch} images)"
    log.info("%s at %g%s, %d steps of %d images", optimisation.optimizer, peak, rule, schedule.steps, images_a_step)


def resume_training(recorder: Recorder, supervisor: Supervisor, training: Training) -> None:
    """Go on from the last checkpoint; a run that was killed before its first one starts anew."""
    if not recorder.checkpoint.exists():
        log.info("no checkpoint yet: starting from the beginning")
    else:
        supervisor.restore(recorder.restore(training))
        position = training.position
        epochs = training.schedule.epochs
        if position.epoch < epochs:
            log.info("resuming at step %d, in epoch %d of %d", position.step, position.epoch + 1, epochs)
    if supervisor.metrics is not None:
        supervisor.metrics.cut_back(training.position.step)


def fit(training: Training, lane: Lane, supervisor: Supervisor, hardware: Hardware) -> None:
    """Train from where `training` stands to the last epoch, or until someone wants to stop."""
    if training.position.epoch >= training.schedule.epochs:
        log.info("this run is finished")
        return
    with quiet_lightning(), reproducible(hardware.accelerator):
        trainer = make_trainer(hardware, training.schedule, training.position, supervisor)
        loader = EpochLoader(
            lane, training.schedule, lambda: training.position, supervisor.stop.between_steps, training.begin_epoch
        )
        try:
            trainer.fit(training, train_dataloaders=loader)
        except Leave:
            if supervisor.reason is None:  # not between two steps, so that nothing was saved
                raise
        finally:
            if supervisor.metrics is not None:
                supervisor.metrics.close()
    if supervisor.recorder is not None:
        supervisor.recorder.summarise(training, supervisor.outcome())
