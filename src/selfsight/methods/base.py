"""The contract between a method and the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight import diagnostics
from selfsight.naming import nearest
from selfsight.nets import EMA, Encoder
from selfsight.precision import full_precision
from selfsight.views import Augmentation, Batch, ViewSet, multi_crop, two_views

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Optimisation:
    """How a paper trains: the defaults behind `--optimizer`, `--lr`, `--weight_decay` and so on.

    lr is the rate for `reference_batch` images a step and grows linearly with the batch;
    with `reference_batch=None` it is taken as it stands. After a linear warm-up it follows
    half a cosine down to `lr * final_lr`, by step. clip is the largest norm of the gradient,
    over all parameters or, with `clip_each`, of each parameter tensor by itself.
    """

    optimizer: str = "adamw"
    lr: float = 1e-3
    reference_batch: int | None = 256
    weight_decay: float = 1e-4
    final_weight_decay: float | None = None
    warmup_epochs: float = 10
    final_lr: float = 0.0
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    nesterov: bool = False
    clip: float | None = None
    clip_each: bool = False


class Method(nn.Module):
    """An encoder, its heads and its teacher, and a loss over a batch of views.

    A subclass names its paper, declares how its views are made and how it is trained, and
    answers `method(batch) -> {"loss": ..., more to log}`. It knows nothing of files, devices
    or the loop. The engine keeps `step`, the number of optimiser steps done, and `shared_seed`, which differs
    between runs, steps and micro-batches and is the same on all ranks.
    """

    optimisation: ClassVar[Optimisation] = Optimisation()
    augmentation: ClassVar[Augmentation] = Augmentation()
    smallest_batch: ClassVar[int] = 2

    needs_label: bool = False  # a method may want labels with some options alone

    step: int = 0
    shared_seed: int = 0
    steps: int = 1
    epochs: int = 1

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    @classmethod
    def with_options(cls, **options: Any) -> Callable[..., Method]:
        """This method with other keywords than the paper's, to hand to `pretrain`."""
        return partial(cls, **options)

    def views(self, size: int, augmentation: Augmentation) -> ViewSet:
        """The views that `forward` wants, at `size` pixels a side: two, or the crops that are asked for."""
        return two_views(size, augmentation) if augmentation.crops == (2, 0) else multi_crop(size, augmentation)

    def watched(self, size: int, augmentation: Augmentation) -> ViewSet:
        """The views that `progress` wants: those of training, unless they are too few to compare."""
        return self.views(size, augmentation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The `"loss"` to minimise, a scalar, and further scalars to log."""
        raise NotImplementedError

    def embed(self, view: Tensor) -> Tensor:
        """`(B, D)` output of the head that the loss compares, for one view of each image."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of metadata that the loss reads as numbers, beside the label that `needs_label` asks for."""
        return ()

    def idle(self) -> dict[str, str]:
        """Keywords that change nothing beside the others that this method was built with, each with when:
        `{"queue_start": "without a queue"}`. Asked for with another value than their default, they are refused."""
        return {}

    @property
    def exported(self) -> Encoder:
        """The encoder that users get and monitors watch: the student's unless overridden."""
        return self.encoder

    @property
    def epoch(self) -> float:
        """Epochs done so far, in fractions."""
        return self.step * self.epochs / self.steps

    def progress(self, batch: Batch) -> Tensor:
        """A scalar that rises as the task is learned: here, how often the second view of an
        image is the nearest, by cosine, to its first. Asked for without gradients, of held-out
        images, too, whose index is not that of a training image."""
        first, second = (self.embed(view) for view in batch.views[:2])
        return diagnostics.view_matching_accuracy(first, second)

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters for the optimiser. Keys beside `params`, all optional: `weight_decay`
        (replaces the default), `lr_scale` (times the scheduled rate), `constant_lr` (no
        schedule), `adapt` (False: LARS takes the plain gradient)."""
        return split_by_decay(self)

    # Hooks, called by the engine; the default does nothing.

    def prepare(self, *, samples: int, steps: int, epochs: int, batch: int, metadata: dict[str, Tensor]) -> None:
        """Before anything else: `samples` images in the source, `steps` optimiser steps in `epochs`
        epochs, `batch` images at once over all ranks, and the numeric metadata of all samples in index
        order. Banks take their size here, and what cannot work is refused."""
        self.steps, self.epochs = steps, epochs

    def before_epoch(self, encode: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> None:
        """Before each epoch, for methods that cluster. `encode(function)` runs `function`, from
        a view `(B, C, *S)` to features `(B, D)`, over all training samples, un-augmented, in
        evaluation mode, and answers `(N, D)` in index order; it costs one pass over the data."""

    def after_backward(self) -> None:
        """After each backward pass, micro-batches included: gradient edits, enqueueing."""

    def after_step(self, step: int) -> None:
        """After each optimiser step; `step` counts from 1. Teachers move here."""

    def check(self, batch: Batch, views: int, *, or_more: bool = False) -> None:
        """Raise a `ValueError` that names the fix unless `batch` suits this method."""
        name = type(self).__name__
        if len(batch.views) < views or (len(batch.views) > views and not or_more):
            raise ValueError(
                f"{name} wants {views}{' or more' * or_more} views of each image, got {len(batch.views)}: "
                f"make them with its own `views(size, augmentation)`"
            )
        if len(batch) < self.smallest_batch:
            raise ValueError(
                f"{name} compares the images of a batch, wants at least {self.smallest_batch} and got {len(batch)}: "
                f"raise batch_size"
            )
        if self.needs_label and "label" not in batch.metadata:
            raise ValueError(
                f"{name} learns from labels and the data has none: "
                f"use a sub-folder for each class, or name the column with label="
            )
        self.check_columns(batch.metadata)

    def check_columns(self, metadata: Mapping[str, Tensor]) -> None:
        """Raise a `ValueError` unless the columns are there."""
        for column in self.columns:
            if column not in metadata:
                raise ValueError(
                    f"{type(self).__name__} learns from the numbers in column {column!r} and the data has none"
                    f"{nearest(column, metadata)}; name the right one with columns="
                )


def together(function: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> list[Tensor]:
    """`function` of each view `(B, ...)`, with one call, and so one batch of batch-norm
    statistics, for each run of views of the same size."""
    outputs: list[Tensor] = []
    for _, same_size in groupby(views, key=lambda view: view.shape[1:]):
        run = list(same_size)
        outputs += function(torch.cat(run)).chunk(len(run))
    return outputs


def cross(predictions: Sequence[P], targets: Sequence[T]) -> list[tuple[P, T]]:
    """Each view's prediction with the target of every other view; the targets are those of the first views."""
    return [(p, t) for first, t in enumerate(targets) for view, p in enumerate(predictions) if view != first]


def pairs(views: Sequence[T], large: int = 2) -> list[tuple[T, T]]:
    """Each of the first `large` views with every later one, for losses that take two views alike."""
    return [(one, other) for first, one in enumerate(views[:large]) for other in views[first + 1 :]]


def mean(losses: Sequence[Tensor]) -> Tensor:
    """The mean of some scalars."""
    return torch.stack(list(losses)).mean()


@full_precision
def unit(z: Tensor) -> Tensor:
    """Rows of `z` `(B, D)` at length one, in float32 under autocast, too."""
    return functional.normalize(z, dim=1)


class Teacher(EMA):
    """A moving average that starts as `student`, without dropout or drop path in any mode.

    Only parameters are averaged; batch norm keeps statistics of its own, over all ranks or, with
    `sync_batchnorm=False`, over what this rank's teacher is given.
    """

    def __init__(self, student: nn.Module, *, sync_batchnorm: bool = True):
        super().__init__(student)
        self.sync_batchnorm: bool = sync_batchnorm
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for rate in ("drop_prob", "drop_rate"):
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)


def split_by_decay(module: nn.Module, **options: Any) -> list[dict[str, Any]]:
    """Two parameter groups: weights, and biases and norms without weight decay or LARS."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    return [
        {"params": weights, **options},
        {"params": others, "weight_decay": 0.0, "adapt": False, **options},
    ]


def all_decayed(module: nn.Module, **options: Any) -> list[dict[str, Any]]:
    """One parameter group: weight decay, and LARS, on biases and norms, too."""
    return [{"params": [parameter for parameter in module.parameters() if parameter.requires_grad], **options}]


@torch.no_grad()
def teacher_entropy(probabilities: Tensor) -> dict[str, Tensor]:
    """What the engine's alarms want to know of a teacher's probabilities `(N, K)`: their mean
    entropy and the largest that there is, in nats."""
    entropy = diagnostics.entropy(probabilities)
    return {"teacher_entropy": entropy, "teacher_entropy_max": entropy.new_full((), math.log(probabilities.shape[1]))}


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """`{"loss": sum of weight * term, ...}` with each unweighted term to log."""
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}
