"""Optimisers, and what is set on them at each step; nothing here waits for the device."""

# pyright: reportPrivateImportUsage=false
# torch's foreach functions have no public names; its own optimisers call these.

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn, optim
from torch.optim import Adam, AdamW, Optimizer

from selfsight.engine.schedules import half_cosine, warmup_cosine
from selfsight.methods.base import Optimisation
from selfsight.naming import nearest

OPTIMISERS = ("adamw", "adam", "sgd", "lars")
GROUP_KEYS = ("params", "weight_decay", "lr_scale", "constant_lr", "adapt", "betas")


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling, as BYOL, Barlow Twins, VICReg and MoCo v3 use it.

    For each tensor `p` with gradient `g`: `g <- g + weight_decay * p`, scaled by
    `eta * |p| / |g|` where both norms are positive; then `v <- momentum * v + g` and
    `p <- p - lr * v`. Groups with `adapt=False` (biases and norms) take `g` undecayed and unscaled.

    You, Gitman, Ginsburg: Large batch training of convolutional networks (2017).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "adapt": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update([parameter for parameter in group["params"] if parameter.grad is not None], group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        if not parameters:
            return
        momenta = [self._momentum(parameter) for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        updates = gradients
        if group["adapt"]:
            updates = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            torch._foreach_mul_(updates, trust_ratios(parameters, updates, group["eta"]))
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, updates)
        torch._foreach_add_(parameters, momenta, alpha=-group["lr"])

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


class SGD(optim.SGD):
    """torch's SGD, which can leave out some parameters of a group for a while, as DINO and SwAV do.

    torch's fused step takes a group's momenta only all together: either all are there or none. Each
    parameter that takes part for the first time gets a momentum of zeros here, which the step makes its
    gradient, as torch does for one without any.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            fresh = [parameter for parameter in moved if self.state[parameter].get("momentum_buffer") is None]
            if group["momentum"] and len(fresh) < len(moved):
                for parameter in fresh:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        super().step()
        return loss


def trust_ratios(parameters: list[Tensor], updates: list[Tensor], eta: float) -> list[Tensor]:
    """`eta * |p| / |u|` of each pair, a scalar tensor each; 1 where either norm is zero."""
    size = torch.stack(torch._foreach_norm(parameters))
    change = torch.stack(torch._foreach_norm(updates))
    ratios = torch.where((size > 0) & (change > 0), eta * size / change, 1.0)
    return list(ratios.unbind())


def build_optimiser(groups: list[dict[str, Any]], optimisation: Optimisation) -> Optimizer:
    """The optimiser that `optimisation` names, over a method's parameter groups; only Adam and AdamW have betas."""
    for group in groups:
        for key in group.keys() - set(GROUP_KEYS):
            raise ValueError(f"a parameter group has no {key!r}{nearest(key, GROUP_KEYS)}")
    groups = [{**group, "follows_decay": "weight_decay" not in group} for group in groups if group["params"]]
    settings: dict[str, Any] = {"lr": optimisation.lr, "weight_decay": optimisation.weight_decay}
    name = optimisation.optimizer
    if name in ("adamw", "adam"):
        return (AdamW if name == "adamw" else Adam)(groups, betas=optimisation.betas, fused=True, **settings)
    settings["momentum"] = optimisation.momentum
    if name == "sgd":
        return SGD(groups, nesterov=optimisation.nesterov, fused=True, **settings)
    if name == "lars":
        return LARS(groups, **settings)
    raise ValueError(f"unknown optimizer {name!r}: choose from {', '.join(OPTIMISERS)}")


def scaled_rate(optimisation: Optimisation, images_a_step: int) -> float:
    """The peak learning rate for a step of `images_a_step` images."""
    reference = optimisation.reference_batch
    return optimisation.lr if reference is None else optimisation.lr * images_a_step / reference


def set_schedule(
    optimiser: Optimizer, optimisation: Optimisation, peak: float, step: int, steps: int, warmup: int
) -> float:
    """Set rate and weight decay of every group for `step`; answers the scheduled rate."""
    rate = peak * warmup_cosine(step, steps, warmup, optimisation.final_lr)
    for group in optimiser.param_groups:
        group["lr"] = (peak if group.get("constant_lr") else rate) * group.get("lr_scale", 1.0)
        if optimisation.final_weight_decay is not None and group["follows_decay"]:
            start, end = optimisation.weight_decay, optimisation.final_weight_decay
            group["weight_decay"] = half_cosine(step / steps, start, end)
    return rate


def clip_gradients(module: nn.Module, largest: float, by: Literal["all", "part", "tensor"] = "all") -> None:
    """Shrink gradients whose norm exceeds `largest`: over all parameters, over each child of the module by itself
    (what the module holds directly is one more), or of each tensor by itself."""
    if by == "all":
        nn.utils.clip_grad_norm_(module.parameters(), largest, foreach=True)
    elif by == "part":
        for part in (module.parameters(recurse=False), *(child.parameters() for child in module.children())):
            nn.utils.clip_grad_norm_(list(part), largest, foreach=True)
    else:
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        torch._foreach_mul_(gradients, list((largest / (norms + 1e-6)).clamp(max=1.0).unbind()))
