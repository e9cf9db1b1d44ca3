"""A method on two ranks that share a batch is what it is on one."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from selfsight import distributed
from selfsight.methods import find_method
from selfsight.methods.base import Method
from selfsight.testing.case import Build, Case, class_of
from selfsight.testing.checks import require
from selfsight.testing.images import small_batches
from selfsight.testing.ranks import Named, NotThereError, both_ranks
from selfsight.testing.training import begin_epoch, losses_of, tensors
from selfsight.views import Batch

Outcome = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]


def check_two_ranks(method: Build, case: Case) -> None:
    """The mean loss of two ranks, each with half of the images, and the mean of their gradients are those of one
    process with all, in the second micro-batch, too, and what they remember is the same on both.

    Two processes are started at the first call and end with this one. They import the method by its module or its
    file; where it has none (it is defined inside a function, or typed in) a warning says that this was not tried.
    """
    built = case.build(method).double()
    batches = small_batches(built)
    for batch in batches:
        batch.views = [view.double() for view in batch.views]
    state = built.state_dict()
    try:
        sent = named(method, case)
        ranks = both_ranks().run(share, *sent, state, batches)
    except (NotThereError, pickle.PicklingError) as error:
        where = "define the method and its encoder at the top level of a file to try it"
        warnings.warn(f"{class_of(method).__name__} was not tried on two ranks, {where}: {error}", stacklevel=2)
        return
    loss, gradients, memory = outcome(case.build(method, seed=1).double(), state, batches)
    for rank, (losses, reduced, remembered) in enumerate(ranks):
        _require_close(losses, loss, f"the losses of two micro-batches on rank {rank} of two")
        require(reduced.keys() == gradients.keys(), f"on rank {rank} other parameters have a gradient than on one")
        for key, gradient in gradients.items():
            _require_close(reduced[key], gradient, f"the gradient of {key}, the mean over two ranks,")
        for key, value in memory.items():
            _require_close(remembered[key], value, f"the state {key} on rank {rank} of two")


def named(method: Build, case: Case) -> tuple[Named, Case, str | Named]:
    """The method, its case and its encoder as they are sent to other processes."""
    found: Any = find_method(method)
    options = {**(found.keywords if isinstance(found, partial) else {}), **case.options}
    encoder = case.encoder if isinstance(case.encoder, str) else Named.of(case.encoder)
    return Named.of(class_of(method)), replace(case, options=options, encoder="resnet"), encoder


def share(method: type[Method], case: Case, encoder: Any, state: dict[str, Any], batches: list[Batch]) -> Outcome:
    """The outcome on a rank that has its part of each batch."""
    torch.set_num_threads(1)
    half = len(batches[0]) // distributed.world_size()
    part = slice(distributed.rank() * half, (distributed.rank() + 1) * half)
    built = replace(case, encoder=encoder).build(method, seed=1).double()
    return outcome(distributed.convert_sync_batchnorm(built), state, [batch[part] for batch in batches])


def outcome(built: Method, state: dict[str, Any], batches: list[Batch]) -> Outcome:
    """Means over ranks of the losses of two micro-batches and of the gradients, and what this rank remembers: the
    second micro-batch meets the queues and centres that the first left."""
    built.load_state_dict(state)
    begin_epoch(built)
    losses = torch.tensor(losses_of(built, batches), dtype=torch.float64)
    gradients = {key: p.grad for key, p in built.named_parameters() if p.grad is not None}
    own = tuple(_own_statistics(built))
    with torch.no_grad():
        return (
            distributed.reduce_mean(losses),
            {key: distributed.reduce_mean(gradient) for key, gradient in gradients.items()},
            {key: value for key, value in tensors(built).items() if not key.startswith(own)},
        )


def _own_statistics(built: Method) -> Iterator[str]:
    """Names of modules whose batch norm sees its own rank alone."""
    for name, module in built.named_modules():
        if isinstance(module, nn.Module) and getattr(module, "sync_batchnorm", True) is False:
            yield f"{name}."


def _require_close(value: Tensor, expected: Tensor, what: str) -> None:
    try:
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-8)
    except AssertionError as error:
        raise AssertionError(
            f"{what} is not what one process has: take means and negatives over all ranks with gather and reduce_mean, "
            f"and draw what is random from batch.seed: {error}"
        ) from None
