"""Where numbers stopped being finite: the first tensor, and the batch, kept so that it can be looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfsight.data.sizes import checked_size
from selfsight.engine.build import build_method, debias_of
from selfsight.engine.checkpoints import save_checkpoint
from selfsight.engine.run_folder import Run, open_run
from selfsight.engine.seeds import STEP, derived_seed
from selfsight.methods.base import Method, Plan
from selfsight.nets import build_encoder
from selfsight.views import Batch

KEPT = "non_finite.pt"


@dataclass(frozen=True)
class Replay:
    """A batch that was kept, and the method as it stood before the step.

    found: what was the first to be non-finite in the run; `again` is what is found now, in the same order:
        views, weights, outputs of modules, terms of the loss, gradients. None where all is finite.
    """

    method: Method
    batch: Batch
    step: int
    found: str
    again: str | None


def goes_wrong(method: nn.Module, loss: Tensor) -> bool:
    """Whether the loss or a gradient is not finite; waits for the device."""
    gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    norms = torch.stack([*torch._foreach_norm(gradients), loss.detach().float()])  # pyright: ignore[reportPrivateImportUsage]
    return not bool(norms.isfinite().all())


def first_non_finite(method: Method, batch: Batch, seed: int | None) -> str | None:
    """The first tensor of a step that is not finite, in words; the method's buffers are left as they were.

    seed: that of dropout and its kin in this step; None leaves the outputs of modules out, where they
        cannot be computed again because other processes would have to do so, too.
    """
    for number, view in enumerate(batch.views):
        bad = ~view.flatten(1).isfinite().all(1)
        if bad.any():
            return f"view {number} of the images at {batch.index[bad].tolist()[:8]}"
    for kind, tensors in (("weights", method.named_parameters()), ("buffer", method.named_buffers())):
        for name, tensor in tensors:
            if tensor.is_floating_point() and not tensor.isfinite().all():
                return f"{kind} {name}"
    if seed is not None and (found := _in_forward(method, batch, seed)) is not None:
        return found
    bad = [name for name, p in method.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"gradient of {bad[-1]}" if bad else None  # backward comes to the last ones first


def _in_forward(method: Method, batch: Batch, seed: int) -> str | None:
    """The first module whose output, or else the first term, is not finite."""
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and not output.isfinite().all():
                found.append(f"output of {name} ({type(modules[name]).__name__})")

        return hook

    modules = dict(method.named_modules())
    leaves = [name for name, part in modules.items() if name and not any(part.children())]
    hooks = [modules[name].register_forward_hook(look(name)) for name in leaves]
    try:
        with _buffers_kept(method):
            torch.manual_seed(seed)
            terms = method(batch)
    finally:
        for hook in hooks:
            hook.remove()
    found += [f"term {name}" for name, value in reversed(terms.items()) if not value.isfinite().all()]
    return found[0] if found else None


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(kept[name])


def keep(path: Path, method: Method, batch: Batch, **more: Any) -> None:
    """Write what `replay` needs."""
    state = {"views": batch.views, "index": batch.index, "metadata": batch.metadata}
    state |= {"draws": batch.draws, "shared_seed": batch.shared_seed}
    save_checkpoint(path / KEPT, {**state, **more, "method": method.state_dict()})


def replay(run: str | Path | Run, method: Method | None = None) -> Replay:
    """Go once more through the batch on which a run's numbers stopped being finite.

    method: built as in the run, where its encoder is a module of one's own.

    Raises:
        ValueError: when nothing was kept.
    """
    run = run if isinstance(run, Run) else open_run(run)
    if not (run.path / KEPT).exists():
        raise ValueError(f"{run.path} keeps no batch (no {KEPT}): its numbers were finite, or lost on another device")
    kept = torch.load(run.path / KEPT, map_location="cpu", weights_only=True)
    config = run.config
    batch = Batch(kept["views"], kept["index"], kept["metadata"], kept["draws"], shared_seed=kept["shared_seed"])
    if method is None:
        options = {name: value for name, value in config["encoder_options"].items() if name != "pretrained"}
        size, channels = checked_size(config["image_size"]), batch.views[0].shape[1]
        net = build_encoder(config["encoder"], image_size=size, channels=channels, **options)
        method = build_method(config["method"], net, config["method_options"], debias_of(config["debias"]))
    method.prepare(Plan(**kept["plan"]))
    method.load_state_dict(kept["method"])
    method.train()
    method.step = kept["step"]
    seed = derived_seed(STEP, kept["seed"], kept["step"], kept["micro"], kept["rank"])
    with torch.autocast("cpu", torch.bfloat16, enabled=config["precision"] == "bf16"):
        again = first_non_finite(method, batch, seed)
        if again is None:
            torch.manual_seed(seed)
            with _buffers_kept(method):
                method(batch)["loss"].backward()
            again = first_non_finite(method, batch, None)
    return Replay(method, batch, kept["step"], kept["found"], again)
