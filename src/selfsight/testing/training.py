"""A short training that calls a method's hooks as the engine does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from selfsight import diagnostics
from selfsight.methods.base import Method, Plan
from selfsight.nets import evaluating
from selfsight.testing.images import IMAGES, metadata, plain_views
from selfsight.views import Batch

EPOCHS = 4
Encode = Callable[[Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]


def prepare(method: Method, steps: int = 40, images: int = 2 * IMAGES) -> None:
    """Tell a method about the data and the schedule, as the engine does."""
    method.prepare(Plan(samples=images, batch=IMAGES, steps=steps, epochs=EPOCHS, metadata=metadata(images)))


def clusters(method: Method) -> bool:
    """Whether the method wants to see all images before each epoch."""
    return type(method).before_epoch is not Method.before_epoch


def encoder_of(method: Method, images: int = 2 * IMAGES, unknown: Sequence[int] = ()) -> Encode:
    """The `encode` of `before_epoch`: a function's values `(N, ...)` of all textures, in evaluation mode, and which
    are known; those of `unknown` images are zero."""

    def encode(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        views = plain_views(images).to(next(method.parameters()))
        with torch.no_grad(), evaluating(method):
            features = torch.cat([function(view) for view in views.split(IMAGES)])
        known = torch.ones(images, dtype=torch.bool).index_fill_(0, torch.tensor(unknown, dtype=torch.int64), False)
        return torch.where(known.view(-1, *[1] * (features.ndim - 1)), features, 0.0), known

    return encode


def begin_epoch(method: Method, images: int = 2 * IMAGES, seed: int = 0) -> None:
    """Call `before_epoch` of a method that has one."""
    if clusters(method):
        torch.manual_seed(seed)
        method.before_epoch(encoder_of(method, images))


def train(method: Method, batches: list[Batch], steps: int, lr: float = 3e-3, draws: int = 1) -> list[float]:
    """The loss of each of `steps` steps, on batches of which `draws` show the same images."""
    optimiser = torch.optim.AdamW(method.param_groups(), lr=lr)
    images = len(batches) // draws * IMAGES
    prepare(method.train(), steps, images)
    history = []
    for step in range(steps):
        if step % max(1, steps // EPOCHS) == 0:
            begin_epoch(method, images, seed=step)
        method.step = step
        loss = method(replace(batches[step % len(batches)], shared_seed=step))["loss"]
        optimiser.zero_grad()
        loss.backward()
        method.end_backward()
        optimiser.step()
        method.step = step + 1
        method.after_step(step + 1)
        history.append(loss.item())
    return history


def losses_of(method: Method, batches: list[Batch]) -> list[float]:
    """Of micro-batches in turn, so that later ones meet what the hooks stored of earlier ones."""
    losses = []
    for batch in batches:
        losses.append(method(batch)["loss"])
        losses[-1].backward()
        method.end_backward()
    return [loss.item() for loss in losses]


def health(method: Method, batches: list[Batch]) -> tuple[float, float]:
    """Mean progress over the batches, and spread of the embeddings of all their first views."""
    with torch.no_grad(), evaluating(method):
        progress = torch.stack([method.progress(batch) for batch in batches]).mean()
        embeddings = torch.cat([method.embed(batch.views[0]) for batch in batches])
    return progress.item(), diagnostics.spread(embeddings).item()


def tensors(method: Method) -> dict[str, Tensor]:
    """The state without what is no tensor."""
    return {key: value for key, value in method.state_dict().items() if isinstance(value, Tensor)}
