"""What protocols that train share: one loop, rates by depth, seeds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from timm.optim._param_groups import param_groups_layer_decay
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from selfsight.data import BadImages, Lane, Source, open_lane
from selfsight.data.sizes import each_axis
from selfsight.nets import Encoder
from selfsight.probes.features import Reader
from selfsight.progress import track
from selfsight.views import Augmentation, ViewSet
from selfsight.views.view_sets import random_view

log = logging.getLogger(__name__)


def fit(
    model: nn.Module,
    groups: Sequence[dict[str, Any]],
    batches: Iterable[Any],
    steps: int,
    loss: Callable[[Any], Tensor],
    *,
    lr: float,
    warmup: float,
    ema: float = 0.0,
    half: bool = True,
    what: str,
) -> nn.Module:
    """The model after the last step of AdamW, or the average of its weights; in evaluation mode.

    batches: `steps` of them. loss: of a batch. warmup: the share of steps in which the rate rises. ema: decay of the
    average, 0 for none. half: whether GPUs may compute in bfloat16.

    Raises:
        ValueError: where the loss is not finite at the end.
    """
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999))
    average = ModelEmaV3(model, decay=ema, use_warmup=True) if ema else None
    device = next(model.parameters()).device
    model.train()
    for done, batch in enumerate(track(batches, steps, what, unit="steps")):
        rate = lr * schedule(done / steps, warmup)
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        with torch.autocast(device.type, torch.bfloat16, enabled=half and device.type == "cuda"):  # wrong on some CPUs
            found = loss(batch)
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        if average is not None:
            average.update(model, step=done + 1)
    if not bool(found.isfinite()):
        raise ValueError(f"{what}: training with a rate of {lr:g} diverged: lower the rate")
    return (model if average is None else average.module).eval()


def crops(reader: Reader, source: Source, batch_size: int, scale: float, flip: float) -> tuple[Lane, ViewSet]:
    """Training images in batches, shuffled by torch's seed, and views of them: a crop, and a mirror image."""
    lane = open_lane(
        source,
        min(batch_size, len(source)),
        view_size=max(each_axis(reader.size, reader.spec.dims)),
        device=reader.device,
        workers=reader.workers,
        seed=torch.initial_seed() % 2**31,
        bad=BadImages(reader.max_bad),
    )
    plain = Augmentation(scale=(scale, 1.0), flip=flip, jitter_p=0.0, grayscale=0.0, blur=0.0)
    return lane, ViewSet((random_view(reader.size, plain.of_view(0)),)).normalised(reader.spec.mean, reader.spec.std)


def schedule(done: float, warmup: float) -> float:
    """The rate's share of its peak: a linear rise, then half a cosine."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def layer_groups(encoder: Encoder, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameters by depth, where the net says how deep each lies, with `lr_scale`; vectors have no weight decay."""
    if hasattr(encoder.model, "group_matcher"):
        return list(param_groups_layer_decay(encoder.model, weight_decay, layer_decay=layer_decay))
    if layer_decay != 1:
        log.info("the encoder does not say how deep its layers lie: one rate for all")
    return plain_groups(encoder, weight_decay=weight_decay)


def plain_groups(*modules: nn.Module, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Parameters of some modules; vectors have no weight decay."""
    learned = [part for module in modules for part in module.parameters() if part.requires_grad]
    groups = [
        {"params": [part for part in learned if (part.ndim > 1) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, weight_decay), (False, 0.0))
    ]
    return [group for group in groups if group["params"]]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global generators as `seed` has them, timm's mixup draws from NumPy's; afterwards as before."""
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)


def shuffled(count: int, seed: int) -> Tensor:
    """Positions in a random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
