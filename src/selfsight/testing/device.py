"""A method on another device than the processor, without having one: tensors of a device, without values."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from selfsight.nets import evaluating
from selfsight.testing.case import Build, Case
from selfsight.testing.checks import require
from selfsight.testing.images import small_batches, small_canvases, small_views
from selfsight.testing.training import losses_of
from selfsight.views import Batch, View, ViewSet

DEVICE = torch.device("lazy", 0)
"""A device that torch knows and nobody names. Autograd takes simulated tensors of it, as it takes those of "cuda"
only where there is a GPU; code that asks for "cuda" by name sees another device than the processor."""


def check_device(method: Build, case: Case) -> None:
    """Views, targets, loss, gradients, hooks, `progress` and `embed` on a simulated device of their own, with weights
    and the views' parameters drawn on the processor: whatever leaves a tensor there, reads a value on the host, or
    lets a shape depend on one, would fail or wait on a GPU."""
    built = case.build(method)
    losses_of(built, small_batches(built, count=1))  # constants that are made once are made of values
    for parameter in built.parameters():
        parameter.grad = None
    training, watched = (small_views(built, watched=watched) for watched in (False, True))
    with _without_values():
        built.to(DEVICE)
        loss = built(_batch_on_device(training))["loss"]
        require(loss.device == DEVICE, f"the loss of views on another device is on {loss.device}")
        loss.backward()
        built.end_backward()
        built.after_step(1)
        with torch.no_grad(), evaluating(built):
            seen = _batch_on_device(watched)
            for name, value in (("progress", built.progress(seen)), ("embed", built.embed(seen.views[0]))):
                require(value.device == DEVICE, f"{name} of views on another device is on {value.device}")


def _batch_on_device(views: ViewSet) -> Batch:
    (canvas,) = small_canvases(1)
    return _drawn_here(views)([canvas.to(DEVICE)], torch.Generator().manual_seed(0))


class _DrawnHere:
    """Something whose parameters are drawn on the processor and have values there, so that the host may read them."""

    def __init__(self, drawing: Any):
        self.drawing = drawing

    def sample(self, *arguments: Any) -> Any:
        with unset_fake_temporarily():
            return self.drawing.sample(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.drawing, name)


def _drawn_here(views: ViewSet) -> ViewSet:
    def drawn(view: View) -> View:
        tiles: Any = None if view.tiles is None else _DrawnHere(view.tiles)
        colours: Any = tuple(_DrawnHere(colour) for colour in view.colour)
        return replace(view, colour=colours, tiles=tiles)

    draws: Any = {name: _DrawnHere(draw) for name, draw in views.draws.items()}
    return replace(views, views=tuple(drawn(view) for view in views.views), draws=draws)


@cache
def _mode() -> FakeTensorMode:
    """One for all, since constants that are made once for each device must fit all that come later."""
    return FakeTensorMode(allow_non_fake_inputs=True)


class _Autocast(torch.autocast):
    """torch has no autocast for the simulated device: it is that of CUDA."""

    def __init__(self, device_type: str, *arguments: Any, **options: Any):
        super().__init__("cuda" if device_type == DEVICE.type else device_type, *arguments, **options)


@contextmanager
def _without_values() -> Iterator[None]:
    """Tensors that are made or moved in the body have no values; what fails for it says where."""
    try:
        with mock.patch.object(torch, "autocast", _Autocast), _mode():
            yield
    except AssertionError:
        raise
    except Exception as error:
        what = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise AssertionError(
            f"on a device of its own, here called {DEVICE.type!r}: {type(error).__name__}: {what}, {_where(error)}. "
            f"Make constants on the device of what they meet (device=x.device, x.new_zeros, buffers), and let the host "
            f"read no value of a tensor: no item(), tolist(), nonzero(), boolean index or `if` of one"
        ) from error


def _where(error: Exception) -> str:
    """The last line that is neither torch's nor the battery's."""
    torchs, ours = Path(torch.__file__).parent, Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    inner = [frame for frame in frames if not {torchs, ours} & set(Path(frame.filename).parents)] or frames
    return f"{inner[-1].filename}:{inner[-1].lineno}: {inner[-1].line}"
