"""A run's whole method on disk, beside its encoder: a tokenizer, a teacher with its heads, a head to tune from."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from selfsight.engine.build import build_method
from selfsight.engine.run_folder import Run
from selfsight.methods.base import Method, Plan
from selfsight.nets import EncoderSpec, rebuild
from selfsight.outputs import write_atomically

log = logging.getLogger(__name__)

WEIGHTS, DESCRIPTION = "method.safetensors", "method.json"
UNNAMED = re.compile(r"<\w+>")  # what stands in a run's settings for an object that no file can hold


def unnamed(config: dict[str, Any]) -> str | None:
    """Why a method cannot be rebuilt from its run's settings, or None where it can."""
    name = config["method"]
    if name.startswith("__main__.") or "<locals>" in name:
        return f"the class {name} cannot be imported"
    lost = [
        option for option, value in config["method_options"].items()
        if isinstance(value, str) and UNNAMED.fullmatch(value)
    ]  # fmt: skip
    return f"its option {lost[0]} is an object without a name" if lost else None


def save_method(method: Method, folder: Path, config: dict[str, Any]) -> None:
    """Write all weights of a method, and beside them a JSON that says how to build it; nothing of a method without
    a name."""
    if unnamed(config) is not None:
        return
    state = method.state_dict()
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    plan = method.plan
    described = {
        "method": config["method"],
        "options": config["method_options"],
        "plan": {"samples": plan.samples, "batch": plan.batch, "steps": plan.steps, "epochs": plan.epochs},
        "step": method.step,
        "encoder": method.encoder.spec.to_json(),
        "state": {name: value for name, value in state.items() if not isinstance(value, Tensor)},
    }
    write_atomically(folder / WEIGHTS, safetensors.torch.save(tensors))
    write_atomically(folder / DESCRIPTION, json.dumps(described, indent=2).encode() + b"\n")


def load_method(run: str | Path | Run, module: nn.Module | None = None) -> Method:
    """The whole method of a run, with its heads, teacher and memories, in evaluation mode on the CPU.

    module: a new encoder like that which was trained, where that was a module without a name.

    Raises:
        ValueError: for a run that holds no method, or whose files do not fit.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    file = folder / DESCRIPTION
    if not file.is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(
            f"{folder} holds no whole method ({DESCRIPTION}, {WEIGHTS}): it has trained nothing yet, or a method "
            f"or an option that has no name; load_encoder reads its encoder alone"
        )
    try:
        described = json.loads(file.read_text())
        spec = EncoderSpec.from_json(described["encoder"])
        plan = Plan(**described["plan"])
        name, options, step, state = (described[key] for key in ("method", "options", "step", "state"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} does not describe a method: {error}") from error
    with torch.random.fork_rng(devices=[]):  # what is drawn here is replaced
        method = build_method(name, rebuild(spec, module, folder), options)
        method.prepare(plan)
    try:
        method.load_state_dict({**safetensors.torch.load_file(folder / WEIGHTS), **state})
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit the method {name!r} of {file}: {error}") from error
    method.encoder.spec, method.encoder.prepared, method.step = spec, True, step
    return method.eval()
