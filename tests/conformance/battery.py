"""What the battery tries every method with: small heads, a small encoder, small images with something to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from selfsight import diagnostics
from selfsight.data.canvas import full_canvas
from selfsight.methods import find_method
from selfsight.methods.base import Method, Plan
from selfsight.nets import Encoder, as_encoder, build_encoder
from selfsight.views import Batch

SIZE, IMAGES, CLASSES = 24, 24, 4

SMALL: dict[str, dict[str, Any]] = {
    "align_uniform": {"projector": (32,)},
    "barlow_twins": {"projector": (64, 64, 64)},
    "byol": {"projector": (64, 32), "predictor": (64, 32), "momentum": 0.8},
    "clae": {"projector": (64, 32)},
    "cpc_v2": {"target": 16, "context": 32, "depth": 1, "tile": 16, "stride": 4, "scale": 1.0},
    "dcl": {"projector": (64, 32)},
    "dclw": {"projector": (64, 32)},
    "debiased": {"projector": (64, 32)},
    "deep_infomax": {"units": 64},
    "dino": {"out": 64, "hidden": 64, "bottleneck": 32, "momentum": 0.8, "batch_norm": True},
    "eps_infonce": {"projector": (64, 32)},
    "eps_supcon": {"projector": (64, 32)},
    "eps_supinfonce": {"projector": (64, 32)},
    "exemplar": {},
    "hard_negatives": {"projector": (64, 32)},
    "joint_embedding": {"projector": (64, 32), "predictor": (64, 32), "momentum": 0.8, "support": 96},
    "mae": {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2},
    "mean_shift": {"projector": (64, 32), "predictor": (64, 32), "queue": 96, "neighbours": 2, "momentum": 0.8},
    "metric_learning": {"projector": (64, 32)},
    "moco_v1": {"projector": (32,), "queue": 96, "momentum": 0.9, "key_group": 6},
    "moco_v2": {"projector": (64, 32), "queue": 96, "momentum": 0.9, "key_group": 6},
    "moco_v3": {"projector": (64, 32), "predictor": (64, 32), "momentum": 0.8},
    "mv_mr": {"projector": (64, 64, 64)},
    "nnclr": {"projector": (64, 64, 32), "predictor": (64, 32), "queue": 96},
    "npid": {"dim": 32},
    "pirl": {"dim": 32, "puzzle_size": 48},
    "regression_exp": {"projector": (64, 32)},
    "regression_thr": {"projector": (64, 32)},
    "rotation": {},
    "simclr": {"projector": (64, 32)},
    "simsiam": {"projector": (64, 64, 64), "predictor": (16, 64)},
    "supcon": {"projector": (64, 32)},
    "swav": {"projector": (64, 32), "prototypes": 16, "queue": 48, "queue_start": 0},
    "vicreg": {"projector": (64, 64, 64)},
    "y_aware": {"projector": (64, 32)},
}
"""Keywords that shrink a method's heads and shorten its schedules; a new method adds a line."""

EASY: dict[str, Any] = {
    "scale": (0.6, 1.0),
    "global_scale": (0.6, 1.0),
    "local_scale": (0.2, 0.6),
    "jitter": (0.2, 0.2, 0.2, 0.05),
    "grayscale": 0.0,
}
"""Views mild enough to be learned in forty steps."""

TRANSFORMERS = {"mae"}
"""Methods that need a vision transformer."""


STEPS = {"byol": 120}
"""More than forty steps, where forty reach the mark on some processors and miss it on others."""

ONE_VIEW = {"cpc_v2", "exemplar", "npid", "pirl"}
"""Methods that learn what an image's views share by seeing another view at each visit."""


def small_encoder(name: str = "resnet") -> Encoder:
    """A ResNet with batch norm, or a ViT, of about a hundred thousand parameters."""
    if name == "vit":
        return build_encoder("vit_small_image", image_size=SIZE, embed_dim=48, depth=2, num_heads=3)
    resnet = ResNet(BasicBlock, [1, 1, 1, 1], channels=(16, 32, 32, 64), num_classes=0, zero_init_last=False)
    resnet.maxpool = nn.Identity()
    return as_encoder(resnet, image_size=SIZE)


def small_method(name: str, seed: int = 0, encoder: str | None = None, **options: Any) -> Method:
    """The method with small heads and weights drawn from `seed`."""
    torch.manual_seed(seed)
    default = "vit" if name in TRANSFORMERS else "resnet"
    method = find_method(name)(small_encoder(encoder or default), **{**SMALL[name], **options})
    prepare(method)
    return method


def prepare(method: Method, steps: int = 40, images: int = 2 * IMAGES) -> None:
    """Tell a method about the data and the schedule, as the engine does."""
    method.prepare(Plan(samples=images, steps=steps, epochs=4, batch=IMAGES, metadata=metadata(images)))


def textures(images: int = IMAGES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images `(N, 3, SIZE, SIZE)` uint8 of stripes over patches of colour, brighter at
    the top; and their class `(N,)`, the direction of the stripes."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(images) % CLASSES
    angle = angles(label, generator)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    frequency, phase = 2 + 4 * torch.rand(images, generator=generator), 6 * torch.rand(images, generator=generator)
    along = angle.cos()[:, None, None] * rows + angle.sin()[:, None, None] * columns
    stripes = (2 * torch.pi * frequency[:, None, None] * along + phase[:, None, None]).sin()
    patches = torch.rand(images, 3, 4, 4, generator=generator)
    colours = nn.functional.interpolate(patches, size=SIZE, mode="bilinear", align_corners=True)
    pixels = 0.7 * colours + 0.1 * stripes[:, None] + 0.3 * (1 - rows)
    return (pixels.clamp(0, 1) * 255).to(torch.uint8), label


def angles(label: Tensor, generator: torch.Generator) -> Tensor:
    """Direction of the stripes of each image, in radians."""
    return (label + 0.5 * torch.rand(len(label), generator=generator)) * torch.pi / CLASSES


def metadata(images: int = IMAGES, seed: int = 0) -> dict[str, Tensor]:
    """What is known of the images of `textures`: their "label", and "target", the angle of the stripes in degrees."""
    label = torch.arange(images) % CLASSES
    return {"label": label, "target": torch.rad2deg(angles(label, torch.Generator().manual_seed(seed)))}


def small_batches(
    method: Method,
    count: int = 2,
    images: int = IMAGES,
    *,
    watched: bool = False,
    crops: bool = False,
    seed: int = 0,
) -> list[Batch]:
    """Batches of the method's own views, with large crops, the same whenever asked for with the same seed.

    watched: those for `progress`. crops: two small ones join two large ones.
    """
    pixels, known = textures(count * images)[0], metadata(count * images)
    easy = replace(method.augmentation, **EASY)
    if crops or method.augmentation.crops[1]:
        easy = replace(easy, crops=(2, 2))
    views = (method.watched if watched else method.views)(SIZE, easy).normalised((0.5,) * 3, (0.25,) * 3)
    generator = torch.Generator().manual_seed(seed)
    return [
        views([full_canvas(pixels[part], part, {name: column[part] for name, column in known.items()})], generator)
        for part in torch.arange(count * images).split(images)
    ]


def rows(batch: Batch, part: slice) -> Batch:
    """Some images of a batch."""
    return batch[part]


def train(method: Method, batches: list[Batch], steps: int, lr: float = 3e-3, draws: int = 1) -> list[float]:
    """The loss of each of `steps` steps that call the hooks as the engine does, on batches of which `draws` show
    the same images."""
    optimiser = torch.optim.AdamW(method.param_groups(), lr=lr)
    prepare(method.train(), steps, len(batches) // draws * IMAGES)
    history = []
    for step in range(steps):
        method.step = step
        loss = method(replace(batches[step % len(batches)], shared_seed=step))["loss"]
        optimiser.zero_grad()
        loss.backward()
        method.end_backward()
        optimiser.step()
        method.step = step + 1
        method.after_step(step + 1)
        history.append(loss.item())
    return history


@torch.no_grad()
def health(method: Method, batches: list[Batch]) -> tuple[float, float]:
    """Mean progress over the batches, and spread of the embeddings of all their first views."""
    method.eval()
    progress = torch.stack([method.progress(batch) for batch in batches]).mean()
    embeddings = torch.cat([method.embed(batch.views[0]) for batch in batches])
    method.train()
    return progress.item(), diagnostics.spread(embeddings).item()


def check_learns(method: Method, steps: int = 40) -> list[float]:
    """Assert that training closes a fifth of the way to perfect progress (accuracy 1, error 0)
    without a collapse; the loss says nothing. Answers the losses."""
    draws = steps // 2 if type(method).__module__.rpartition(".")[2] in ONE_VIEW else 1
    batches = [batch for seed in range(draws) for batch in small_batches(method, seed=seed)]
    seen = small_batches(method, watched=True)
    before, _ = health(method, seen)
    history = train(method, batches, steps, draws=draws)
    after, spread = health(method, seen)
    best = 0.0 if before < 0 else 1.0
    assert spread > 0.1, f"the embeddings collapsed: spread {spread:.3f}"
    assert after - before > (best - before) / 5, f"progress went from {before:.3f} to {after:.3f} only"
    return history
