"""Communication between ranks with exact gradients, and batch norm over all ranks.

The convention of every loss: the mean over ranks of what each rank returns is the value for
the global batch, and the gradients, averaged over ranks as DDP does, are its gradients. The
collectives below keep it: their backward sums over ranks. In one process they are the identity.
Every rank must hold the same number of rows.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

M = TypeVar("M", bound=nn.Module)


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Position of this process among them, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        gathered = x.new_empty((world_size() * len(x), *x.shape[1:]))
        dist.all_gather_into_tensor(gathered, x.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total.narrow(0, rank() * ctx.rows, ctx.rows)


class _ReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _ReduceSum.forward(ctx, gradients[0])


def gather(x: Tensor) -> Tensor:
    """`(N, ...)` of each rank as `(W * N, ...)`, rank after rank."""
    return x if world_size() == 1 else _Gather.apply(x)


def reduce_sum(x: Tensor) -> Tensor:
    """Sum of `x` over ranks."""
    return x if world_size() == 1 else _ReduceSum.apply(x)


def reduce_mean(x: Tensor) -> Tensor:
    """Mean of `x` over ranks."""
    return reduce_sum(x) / world_size()


@torch.no_grad()
def reduce_max(x: Tensor) -> Tensor:
    """Largest `x` over ranks, without gradient."""
    if world_size() == 1:
        return x
    largest = x.contiguous().clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


class SyncBatchNorm(_BatchNorm):
    """Batch norm with the statistics of all ranks, for `(N, C, ...)` on any device.

    torch's own refuses CPU tensors. Numbers are those of `nn.BatchNorm*d` on the global batch;
    ranks may hold different numbers of rows.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"SyncBatchNorm wants (N, C, ...), got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if world_size() == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        mean, variance, count = _global_moments(x)
        if self.training and self.running_mean is not None:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        shape = (1, -1, *[1] * (x.ndim - 2))
        scale = torch.rsqrt(variance + self.eps)
        normalised = (x - mean.view(shape)) * scale.view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        for running, batch in ((self.running_mean, mean), (self.running_var, variance)):
            running += share * (batch.to(running.dtype) - running)


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance `(C,)` of `(N, C, ...)` over all ranks, and the number of values."""
    others = [dim for dim in range(x.ndim) if dim != 1]
    local = x.new_full((1,), x.numel() / x.shape[1])
    totals = reduce_sum(torch.cat([x.sum(others), local]))
    count = totals[-1].detach()
    mean = totals[:-1] / count
    deviation = x - mean.view(1, -1, *[1] * (x.ndim - 2))
    return mean, reduce_sum(deviation.square().sum(others)) / count, count


class _SyncBatchNormAct(SyncBatchNorm):
    """timm's batch norm with dropout and activation behind it."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


def convert_sync_batchnorm(module: M, device: torch.device | str | None = None) -> M:
    """`module` with every batch norm synchronised: torch's on CUDA, ours elsewhere.

    Sub-modules with `sync_batchnorm = False` stay as they are, with all inside. Parameters
    and buffers are shared, names in the state dict unchanged. `device` is where the module
    will train, by default where it lies.
    """
    if getattr(module, "sync_batchnorm", True) is False:
        return module
    if isinstance(module, _BatchNorm):
        return cast(M, _synchronised(module, device))
    for name, child in module.named_children():
        replaced = convert_sync_batchnorm(child, device)
        if replaced is not child:
            setattr(module, name, replaced)
    return module


def _synchronised(norm: _BatchNorm, device: torch.device | str | None) -> nn.Module:
    if isinstance(norm, (SyncBatchNorm, nn.SyncBatchNorm)):
        return norm
    tensors = [*norm.parameters(), *norm.buffers()]
    if device is None:
        device = tensors[0].device if tensors else "cpu"
    if torch.device(device).type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm as timm_conversion

        return timm_conversion(norm)
    with_activation = hasattr(norm, "act")
    kind = _SyncBatchNormAct if with_activation else SyncBatchNorm
    ours = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    ours.train(norm.training)
    ours._parameters, ours._buffers = norm._parameters, norm._buffers
    if with_activation:
        ours.drop, ours.act = norm.drop, norm.act  # type: ignore[assignment]
    return ours
