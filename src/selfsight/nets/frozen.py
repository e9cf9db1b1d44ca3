"""Guests: teachers and tokenizers that a method looks at and never changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from selfsight.nets.storage import digest


class Frozen(nn.Module):
    """A trained module as a guest of another: always in evaluation mode, never learning, not saved with its host.

    Gradients reach its inputs, not its parameters. It is neither in the host's state nor among its parameters, so
    that no checkpoint and no optimiser holds it, and batch norm inside is not synchronised; it moves to devices and
    dtypes with its host, and copies of the host share it. Where it comes from is its host's business; a checkpoint
    names its `digest`, so that a run resumes with the same guest only.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self._guest = (module.eval().requires_grad_(False),)  # in a tuple, where torch does not look for modules
        self.digest = digest(module)

    @property
    def module(self) -> Any:
        """The guest itself."""
        return self._guest[0]

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """The guest's answer; gradients reach the inputs alone."""
        return self.module(*inputs, **keywords)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)
        self.module._apply(fn, recurse)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self
