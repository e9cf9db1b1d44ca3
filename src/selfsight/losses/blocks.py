"""Sums over all pairs of a batch, a block of rows at a time: memory grows with the batch, not with its square."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LARGEST_BLOCK = {"cpu": 2**21, "cuda": 2**26}
"""Pairs held at once. On a CPU a block that fits the cache is several times faster than the whole."""


def sum_over_rows(
    function: Callable[..., Tensor], rows: Sequence[Tensor], shared: Sequence[Tensor], *, columns: int | None = None
) -> Tensor:
    """`function(*rows, *shared)`, a scalar that is a sum over the rows, without the whole matrix of pairs.

    `function` builds matrices of `len(rows)` by `columns` (by default the length of the first of `shared`);
    where these are large it is called on blocks of the rows. The gradients of a block are taken while it is
    still in the cache, so that nothing is computed twice; second derivatives there are none.
    """
    columns = len(shared[0]) if columns is None else columns
    height = block_height(rows[0].device, columns)
    if len(rows[0]) <= height:
        return function(*rows, *shared)
    return _SumOverRows.apply(function, height, len(rows), *rows, *shared)


def stack_rows(function: Callable[..., Tensor], *rows: Tensor, columns: int) -> Tensor:
    """`function(*rows)`, which answers row by row, from blocks that are computed again in backward."""
    height = block_height(rows[0].device, columns)
    if len(rows[0]) <= height:
        return function(*rows)
    answers: Tensor | None = None
    for start in range(0, len(rows[0]), height):
        part = slice(start, start + height)
        block = checkpoint(function, *(x[part] for x in rows), use_reentrant=False, preserve_rng_state=False)
        if answers is None:  # at once: small tensors that stay between blocks fragment the heap
            answers = block.new_empty(len(rows[0]), *block.shape[1:])
        answers[part] = block
    assert answers is not None
    return answers


def block_height(device: torch.device, columns: int) -> int:
    """How many rows make a block."""
    return max(1, LARGEST_BLOCK.get(device.type, LARGEST_BLOCK["cuda"]) // columns)


class _SumOverRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], height: int, count: int, *tensors: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[3:]
        gradients = [torch.zeros_like(x) if want else None for x, want in zip(tensors, wanted, strict=True)]
        shared = [_leaf(x, want) for x, want in zip(tensors[count:], wanted[count:], strict=True)]
        total = torch.zeros((), dtype=tensors[0].dtype, device=tensors[0].device)
        for start in range(0, len(tensors[0]), height):
            part = slice(start, start + height)
            rows = [_leaf(x[part], want) for x, want in zip(tensors[:count], wanted, strict=False)]
            with torch.enable_grad():
                value = function(*rows, *shared)
            total += value.detach()
            asked = [(k, leaf) for k, leaf in enumerate((*rows, *shared)) if wanted[k]]
            found = torch.autograd.grad(value, [leaf for _, leaf in asked], allow_unused=True) if asked else ()
            for (k, _), gradient in zip(asked, found, strict=True):
                if gradient is not None:
                    whole = gradients[k]
                    assert whole is not None
                    (whole[part] if k < count else whole).add_(gradient)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        scaled = (None if gradient is None else upstream[0] * gradient for gradient in ctx.saved_tensors)
        return (None, None, None, *scaled)


def _leaf(x: Tensor, wanted: bool) -> Tensor:
    return x.detach().requires_grad_(wanted)
