"""Convolutions on maps smaller than their reach, which bf16 on CPUs gets wrong."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)


def guard_small_maps(module: nn.Module) -> None:
    """Compute in float32 each convolution whose map is smaller than its reach, whenever that happens.

    oneDNN on CPUs with native bf16 leaves the weight gradient of such a convolution (3x3 with stride 2
    on a map of one pixel) partly unwritten: what happened to lie in memory. Maps that small cost nothing.
    """
    for name, part in module.named_modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and max(part.kernel_size) > 1:
            _Guard(name).attach(part)


class _Guard:
    """Two hooks around a convolution's `forward`; hooks and not a new `forward`, so that copies stay right."""

    def __init__(self, name: str):
        self.name = name
        self.said = False

    def attach(self, convolution: nn.Module) -> None:
        """Stand around a convolution."""
        convolution.register_forward_pre_hook(self.before)
        convolution.register_forward_hook(self.after, always_call=True)

    def before(self, convolution: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Leave autocast where the map is small."""
        if not torch.is_autocast_enabled("cpu") or not reaches_beyond(convolution, tuple(inputs[0].shape[2:])):
            return None
        if not self.said and not torch.compiler.is_compiling():
            self.said = True
            size = "x".join(map(str, inputs[0].shape[2:]))
            log.info("%s computes in float32: bf16 on this CPU cannot train it on maps of %s", self.name, size)
        convolution.outside_autocast = torch.autocast("cpu", enabled=False)
        convolution.outside_autocast.__enter__()
        return (inputs[0].float(), *inputs[1:])

    def after(self, convolution: Any, *_: Any) -> None:
        """Enter autocast again."""
        context = convolution.__dict__.pop("outside_autocast", None)
        if context is not None:
            context.__exit__(None, None, None)


def reaches_beyond(convolution: Any, shape: tuple[int, ...]) -> bool:
    """Whether a convolution is longer than its map, or some of its weights never meet a pixel of it."""
    for axis, size in enumerate(shape):
        kernel, dilation = convolution.kernel_size[axis], convolution.dilation[axis]
        stride, padding = convolution.stride[axis], convolution.padding
        if dilation * (kernel - 1) + 1 > size:
            return True
        before = padding[axis] if isinstance(padding, tuple) else 0  # "same" pads only where the stride is 1
        outputs = (size + 2 * before - dilation * (kernel - 1) - 1) // stride + 1
        for tap in range(kernel):
            first = tap * dilation - before
            if not any(0 <= first + stride * output < size for output in range(outputs)):
                return True
    return False
