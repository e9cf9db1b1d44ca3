"""Whether a step fits into memory. Where it does not, Linux kills a process without a word."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsight.engine.hardware import Hardware
from selfsight.memory import free_memory
from selfsight.methods.base import Method
from selfsight.views import Batch

log = logging.getLogger(__name__)

FEW = 2  # images of the smaller of the two batches that are measured
OF_PARAMETERS = 3  # their gradients, and the optimiser's two moments


def check_footprint(method: Method, batch: Batch, hardware: Hardware) -> None:
    """Refuse a batch that a CPU's memory will not hold.

    What a forward pass keeps for the backward pass is measured on a few images of the batch, by a copy of the method,
    and grows by as much with each image more. It is the least that a step takes.

    Raises:
        ValueError: naming how many images would fit.
    """
    if hardware.accelerator != "cpu":
        return  # there the allocator raises, and says how much was asked for
    free = free_memory() // hardware.local_world
    few = max(FEW, method.wants.smallest_batch)
    learned = OF_PARAMETERS * sum(part.nbytes for part in method.parameters() if part.requires_grad)
    try:
        small = kept_bytes(method, batch[:few], hardware, free)
        if learned + small * len(batch) / few <= free:
            return  # though it counts for every image what is there once
        each = max(0, kept_bytes(method, batch[: 2 * few], hardware, free) - small) / few
    except Overfull:
        takes, fits = "all the memory there is", 0
    except Exception as error:  # a loss that so few images do not have: the first step says what is wrong, if anything
        log.debug("how much memory a step takes cannot be foretold: %s", error)
        return
    else:
        constant = max(0, small - few * each) + learned
        needed = constant + each * len(batch)
        if needed <= free:
            return
        takes, fits = f"at least {needed / 1e9:.1f} GB of memory", int((free - constant) / each) if each else 0
    raise ValueError(
        f"a step of {len(batch)} images takes {takes}, and {free / 1e9:.1f} GB are free: "
        f"{f'set batch_size to {fits} at most, or ' if fits >= few else ''}choose a smaller image_size, or an encoder "
        f"with larger patches or less width"
    )


class Overfull(Exception):
    """A few images take all the memory there is."""


@dataclass
class Kept:
    """The memory of tensors that autograd keeps, each counted once.

    most: bytes at which to stop. known: addresses of what is there anyway, such as parameters.
    """

    most: float
    known: set[int]
    total: int = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in self.known:
            self.known.add(memory.data_ptr())
            self.total += memory.nbytes()
            if self.total > self.most:
                raise Overfull
        return tensor.detach()  # a graph that held its own outputs would never be freed


def kept_bytes(method: Method, batch: Batch, hardware: Hardware, most: float) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters left out; the method stays as it is."""
    twin = copy.deepcopy(method).train()
    there = [*twin.parameters(), *twin.buffers(), *batch.views]
    kept = Kept(most, {tensor.untyped_storage().data_ptr() for tensor in there})
    hooks = torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), hooks, hardware.autocast():
        outcome = twin(batch)
        del outcome
    return kept.total
