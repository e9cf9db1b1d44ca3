"""The contract between a method and the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from itertools import groupby
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from selfsight import diagnostics
from selfsight.naming import nearest
from selfsight.nets import EMA, Encoder
from selfsight.precision import full_precision
from selfsight.views import Augmentation, Batch, Size, ViewSet, multi_crop, two_views

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Optimisation:
    """How a paper trains: the defaults behind `--optimizer`, `--lr`, `--weight_decay` and so on.

    lr is the rate for `reference_batch` images a step and grows linearly with the batch;
    with `reference_batch=None` it is taken as it stands. After a linear warm-up it follows
    half a cosine down to `lr * final_lr`, by step. clip is the largest norm of the gradient, over
    "all" parameters, of each "part" of the method (encoder, projector and so on, each child by
    itself), or of each parameter "tensor": `clip_by`.
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
    clip_by: Literal["all", "part", "tensor"] = "all"


@dataclass(frozen=True)
class Plan:
    """What a method is told of the training before it begins.

    samples: images in the source. batch: images at once, over all ranks. steps: optimiser steps in
    all. epochs: how many. metadata: the numeric columns of all samples `(N,)`, in index order.
    """

    samples: int = 0
    batch: int = 1
    steps: int = 1
    epochs: int = 1
    metadata: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Wants:
    """What a method needs of every batch.

    views: how many of each image, or_more: whether further ones may follow. smallest_batch: images
    that its loss compares at least. label: whether it learns from classes. columns: of metadata,
    which it reads as numbers.
    """

    views: int = 2
    or_more: bool = False
    smallest_batch: int = 2
    label: bool = False
    columns: tuple[str, ...] = ()

    def check(self, batch: Batch, name: str) -> None:
        """Raise a `ValueError` that names the fix unless `batch` suits the method of that name."""
        found = len(batch.views)
        if found < self.views or (found > self.views and not self.or_more):
            raise ValueError(
                f"{name} wants {self.views}{' or more' * self.or_more} views of each image, got {found}: "
                f"make them with its own `views(size, augmentation)`, or say in its `wants` what it takes"
            )
        if len(batch) < self.smallest_batch:
            raise ValueError(
                f"{name} compares the images of a batch, wants at least {self.smallest_batch} and got {len(batch)}: "
                f"raise batch_size"
            )
        if self.label and "label" not in batch.metadata:
            raise ValueError(
                f"{name} learns from labels and the data has none: "
                f"use a sub-folder for each class, or name the column with label="
            )
        self.check_columns(batch.metadata, name)

    def check_columns(self, metadata: Mapping[str, Tensor], name: str) -> None:
        """Raise a `ValueError` unless the columns are there."""
        for column in self.columns:
            if column not in metadata:
                raise ValueError(
                    f"{name} learns from the numbers in column {column!r} and the data has none"
                    f"{nearest(column, metadata)}; name the right one with columns="
                )


class Method(nn.Module):
    """An encoder, its heads and its teacher, and a loss over a batch of views.

    A subclass names its paper, declares how its views are made and how it is trained, and
    answers `method(batch) -> {"loss": ..., more to log}`. It knows nothing of files, devices
    or the loop. The engine keeps `step`, the number of optimiser steps done. What is random in `forward` is
    a function of `batch.seed` or `batch.shared_seed`, or comes in `batch.draws`.

    wants: what its batches hold, checked before `forward`; `__init__` sets it where options decide.
    plan: what `prepare` was told.
    """

    optimisation: ClassVar[Optimisation] = Optimisation()
    augmentation: ClassVar[Augmentation] = Augmentation()

    wants: Wants = Wants(views=2, or_more=True)
    plan: Plan = Plan()
    step: int = 0

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.listeners: list[Listener] = []
        self._waiting: list[tuple[Callable[..., Any], list[Any]]] = []
        self._heard: list[Tensor] | None = None

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "embed" in vars(cls):
            cls.embed = audible(cls.embed)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """`forward` of a batch that holds what this method wants, and what listeners make of it.

        Raises:
            ValueError: for a batch that lacks something.
        """
        self.wants.check(batch, type(self).__name__)
        self._waiting = []  # of a forward pass that no backward pass followed
        self._heard = heard = []
        try:
            outcome = super().__call__(batch)
        finally:
            self._heard = None
        for listener in self.listeners:
            outcome = listener(batch, heard, outcome)
        return outcome

    @classmethod
    def with_options(cls, **options: Any) -> Callable[..., Method]:
        """This method with other keywords than the paper's, to hand to `pretrain`."""
        return partial(cls, **options)

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """The views that `forward` wants, at `size` pixels a side: two, or the crops that are asked for."""
        return two_views(size, augmentation) if augmentation.crops == (2, 0) else multi_crop(size, augmentation)

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """The views that `progress` wants: those of training, unless they are too few to compare."""
        return self.views(size, augmentation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The `"loss"` to minimise, a scalar, and further scalars to log."""
        raise NotImplementedError

    def embed(self, view: Tensor) -> Tensor:
        """`(B, D)` output of the head that the loss compares, for one view of each image."""
        raise NotImplementedError

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
        return self.step * self.plan.epochs / self.plan.steps

    def progress(self, batch: Batch) -> Tensor:
        """A scalar that rises as the task is learned: here, how often the second view of an
        image is the nearest, by cosine, to its first. Asked for without gradients, of held-out
        images, too, whose index is not that of a training image."""
        first, second = (self.embed(view) for view in batch.views[:2])
        return diagnostics.view_matching_accuracy(first, second)

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters for the optimiser. Keys beside `params`, all optional: `weight_decay`
        (replaces the default), `lr_scale` (times the scheduled rate), `constant_lr` (no
        schedule), `adapt` (False: LARS takes the plain gradient), `betas` (Adam's and AdamW's)."""
        return split_by_decay(self)

    # Hooks, called by the engine; the default does nothing.

    def prepare(self, plan: Plan) -> None:
        """Before anything else. Banks take their size here, and what cannot work is refused."""
        self.plan = plan

    def before_epoch(self, encode: Callable[[Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]) -> None:
        """Before each epoch, for methods that cluster; torch is seeded alike on all ranks.

        `encode(function)` runs `function`, from a view `(B, C, *S)` to features `(B, D)`, over all
        training samples, un-augmented, in evaluation mode. It answers the features `(N, D)` in index
        order and which rows are known `(N,)`, for those of unreadable images are zero; it costs one
        pass over the data."""

    def sampling(self) -> Tensor | None:
        """Weights `(N,)` by which the next epoch draws its images, with replacement; None: each image once.

        Asked for after `before_epoch`, and again where a run resumes in the middle of an epoch: a
        function of state that stays the same within one."""
        return None

    def after_backward(self) -> None:
        """After each backward pass, micro-batches included: edits of gradients."""

    def after_step(self, step: int) -> None:
        """After each optimiser step; `step` counts from 1. Teachers move here."""

    def later(self, function: Callable[..., Any], *arguments: Any) -> None:
        """In `forward`: call `function(*arguments)` after the backward pass, without gradients.

        For memories that the loss still reads: written to in `forward` they would change under it."""
        detached = [value.detach() if isinstance(value, Tensor) else value for value in arguments]
        self._waiting.append((function, detached))

    @torch.no_grad()
    def end_backward(self) -> None:
        """What the engine calls after each backward pass: `after_backward`, then what was to come `later`."""
        self.after_backward()
        waiting, self._waiting = self._waiting, []
        for function, arguments in waiting:
            function(*arguments)


Listener = Callable[[Batch, list[Tensor], dict[str, Tensor]], dict[str, Tensor]]
"""What adds a term to any method: from a batch, the embeddings that `embed` answered in `forward`, and its outcome."""


def audible(embed: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method's `embed`, which keeps what it answers within `forward` for listeners."""

    @wraps(embed)
    def heard(self: Method, view: Tensor) -> Tensor:
        kept, self._heard = self._heard, None  # the `embed` of a parent class is heard once
        try:
            z = embed(self, view)
        finally:
            self._heard = kept
        if kept is not None and self.listeners:
            kept.append(z)
        return z

    return heard


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
    """A moving average of `student`, a module or several in a row, without dropout or drop path in any mode.

    Only parameters are averaged; batch norm keeps statistics of its own, over all ranks or, with
    `sync_batchnorm=False`, over what this rank's teacher is given.
    """

    def __init__(self, *student: nn.Module, sync_batchnorm: bool = True):
        super().__init__(student[0] if len(student) == 1 else nn.Sequential(*student))
        self.student = student  # in a tuple, so that it is no part of the teacher
        self.sync_batchnorm: bool = sync_batchnorm
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for rate in ("drop_prob", "drop_rate"):
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)

    def follow(self, momentum: float) -> None:
        """teacher = momentum * teacher + (1 - momentum) * student."""
        self.update(self.student[0] if len(self.student) == 1 else nn.Sequential(*self.student), momentum)


def frozen(module: nn.Module, *inputs: Any) -> Any:
    """`module(*inputs)` through which gradients reach the inputs alone; its buffers stay as they are.

    For adversarial terms: the critic's loss on detached images plus the generator's through
    `frozen(critic, ...)` give both players their gradients in one backward pass, and batch norm
    counts no batch more. Both players move at once; `lr_scale` and `betas` give each its own rate.
    """
    held = {name: parameter.detach() for name, parameter in module.named_parameters()}
    held |= {name: buffer.clone() for name, buffer in module.named_buffers()}
    return functional_call(module, held, inputs)


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
