"""The health of the representation, measured on a fixed held-out buffer and rationed in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsight import diagnostics
from selfsight.data import Canvas, Lane
from selfsight.engine.seeds import MONITOR, generator_for
from selfsight.methods.base import Method
from selfsight.nets import evaluating
from selfsight.probes import KNN, Ridge
from selfsight.views import Batch, ViewSet

TIME_SHARE = 0.03
CHEAP = 3.0  # seconds that a measurement may take ten times in a run, whatever the share
LEAST_OFTEN = 10  # measurements a run, where they are cheap
TRAINING_PASSES = 6  # what training on an image costs, in forward passes: two views, forward and backward
HEALTH_PASSES = 4  # what the health of an image costs: two views, each for the features and for the method's progress


@dataclass(frozen=True)
class Sizes:
    """How many images a measurement looks at: for health, as queries of kNN and ridge, and as their bank."""

    health: int = 512
    queries: int = 2048
    bank: int = 4096


def affordable(images_seen: int) -> Sizes:
    """Sizes at which the first and the last measurement together take at most 3 % of a training that sees so
    many images, every epoch counted; never fewer than 64, 128 and 256."""
    most = Sizes()
    passes = TIME_SHARE / 2 * TRAINING_PASSES * images_seen
    share = min(1.0, passes / (HEALTH_PASSES * most.health + most.queries + most.bank))
    shares = (int(share * number) for number in (most.health, most.queries, most.bank))
    return Sizes(*map(max, shares, (64, 128, 256)))


@dataclass
class Ration:
    """At most `share` of the time; the first measurement is always allowed.

    spent, last: seconds that all measurements and the latest one took.
    """

    share: float
    spent: float = 0.0
    last: float = 0.0

    def allows(self, elapsed: float, *, due: bool = False) -> bool:
        """Whether another measurement like the last fits after `elapsed` seconds of training.

        due: whether a tenth of the training has passed since the last one: then it may cost a few seconds.
        """
        return self.spent + self.last <= self.share * elapsed or (due and self.last <= CHEAP)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Count the time that the body takes."""
        start = time.perf_counter()
        yield
        self.last = time.perf_counter() - start
        self.spent += self.last


@dataclass(frozen=True)
class Buffers:
    """Images that the monitor looks at.

    held_out: images that training never sees. bank: training images, un-augmented.
    The bank is None where there are no labels.
    """

    held_out: Lane
    bank: Lane | None = None


class Monitor:
    """Measures an encoder and its projector; changes neither the method nor any random state.

    Health (RankMe, spread, alignment, uniformity, the method's own progress) is measured on the first
    `health_images` held-out images, accuracy (kNN and ridge) on all of them, where there are labels.
    """

    def __init__(
        self,
        method: Method,
        buffers: Buffers,
        *,
        pair: ViewSet,
        plain: ViewSet,
        for_progress: ViewSet,
        autocast: Callable[[], AbstractContextManager],
        health_images: int = Sizes.health,
        seed: int = 0,
    ):
        self.method, self.buffers = method, buffers
        self.pair, self.plain, self.for_progress = pair, plain, for_progress
        self.autocast, self.health_images, self.seed = autocast, health_images, seed
        self.health, self.accuracy = Ration(0.02), Ration(0.01)

    def describe(self) -> dict[str, int]:
        """What `summary.json` says of it: how many images are looked at."""
        queries = self.buffers.held_out.samples
        sizes = {"health_images": min(self.health_images, queries)}
        if self.buffers.bank is not None:
            sizes |= {"knn_queries": queries, "knn_bank": self.buffers.bank.samples}
        return sizes

    def rations(self) -> dict[str, dict[str, float]]:
        """How much time was spent, for a run that is resumed."""
        return {"health": vars(self.health).copy(), "accuracy": vars(self.accuracy).copy()}

    def set_rations(self, rations: dict[str, dict[str, float]]) -> None:
        """Go on from `rations()`."""
        self.health, self.accuracy = (Ration(**rations[name]) for name in ("health", "accuracy"))

    def allowed(self, elapsed: float, *, due: bool = False, always: bool = False) -> tuple[bool, bool]:
        """Whether health and accuracy may be measured after `elapsed` seconds of training."""
        health, accuracy = (always or ration.allows(elapsed, due=due) for ration in (self.health, self.accuracy))
        return health, accuracy

    def measure(self, allowed: tuple[bool, bool], device: torch.device) -> dict[str, float]:
        """What is allowed of health and accuracy, by name."""
        values: dict[str, float] = {}
        with torch.no_grad(), evaluating(self.method):
            if allowed[0]:
                with self.health.use():
                    values |= self.measure_health(device)
            if allowed[1] and self.buffers.bank is not None:
                with self.accuracy.use():
                    values |= self.measure_accuracy(device)
        return values

    def measure_health(self, device: torch.device) -> dict[str, float]:
        """RankMe, spread, alignment and uniformity at encoder and projector, and the method's progress."""
        first, second, progress = [], [], []
        images = 0
        for number, canvases in enumerate(batches(self.buffers.held_out, self.health_images)):
            moved = [canvas.to(device) for canvas in canvases]
            views = self.pair(moved, generator_for(MONITOR, self.seed, number, 0)).views
            first.append(self._features_and_embeddings(views[0]))
            second.append(self._features_and_embeddings(views[1]))
            own = self.for_progress(moved, generator_for(MONITOR, self.seed, number, 1))
            progress.append(self._progress(own) * len(own))
            images += len(own)
        values = {"progress": torch.stack(progress).sum() / images}
        for place, name in enumerate(("encoder", "projector")):
            x, y = (torch.cat([both[place] for both in seen]).float() for seen in (first, second))
            values[f"{name}_rank"] = diagnostics.rank_me(x)
            values[f"{name}_spread"] = diagnostics.spread(x)
            values[f"{name}_alignment"] = diagnostics.alignment(x, y)
            values[f"{name}_uniformity"] = diagnostics.uniformity(x)
        return dict(zip(values, torch.stack([value.double() for value in values.values()]).tolist(), strict=True))

    def measure_accuracy(self, device: torch.device) -> dict[str, float]:
        """Accuracy of kNN and ridge: held-out images against a bank of training images."""
        assert self.buffers.bank is not None
        bank, bank_labels = self._features(self.buffers.bank, device)
        queries, labels = self._features(self.buffers.held_out, device)
        if not (bank.isfinite().all() and queries.isfinite().all()):
            return {}  # the non-finite loss has its own alarm
        return {
            "knn": KNN().fit(bank, bank_labels).score(queries, labels),
            "ridge": Ridge().fit(bank, bank_labels).score(queries, labels),
        }

    def _features(self, lane: Lane, device: torch.device) -> tuple[Tensor, Tensor]:
        """Features and labels of the labelled images, un-augmented."""
        features, labels = [], []
        for canvases in batches(lane):
            batch = self.plain([canvas.to(device) for canvas in canvases], generator_for(MONITOR, self.seed))
            with self.autocast():
                features.append(self.method.exported(batch.views[0]).float())
            labels.append(batch.metadata["label"])
        known = torch.cat(labels) >= 0
        return torch.cat(features)[known], torch.cat(labels)[known]

    def _features_and_embeddings(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the encoder and of the projector, by one pass where `embed` runs the exported encoder."""
        seen: list[Tensor] = []
        hook = self.method.exported.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            projected = self.method.embed(view)
        finally:
            hook.remove()
        return (seen[-1] if seen else self.method.exported(view)), projected

    def _progress(self, batch: Batch) -> Tensor:
        return self.method.progress(batch).detach().float()


def batches(lane: Lane, images: int | None = None) -> Iterator[list[Canvas]]:
    """The lane's batches from its start, until they make `images` images or more."""
    lane.load_state_dict({"epoch": 0, "position": 0})
    seen = 0
    for canvases in lane:
        yield canvases
        seen += sum(map(len, canvases))
        if images is not None and seen >= images:
            return
