"""What reading and writing cost beside an encoder's own work: `embed`, and the bare encoder on ready tensors."""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import selfsight
from selfsight.nets import Encoder, build_encoder
from speed_views import MEAN, STD, photographs
from timing import alternately, table

TITLE = "Embedding"
# name: encoder, pixels a side, images
SCALES = {"resnet_slim, 32 px": ("resnet_slim", 32, 3072), "resnet18, 224 px": ("resnet18", 224, 128)}
BATCH = 256


def run(options: argparse.Namespace) -> str:
    """All tables of the section."""
    return "\n\n".join(
        [
            "Images per second of CPU time: `selfsight.embed` on a uint8 array in memory, from the call to the written "
            "`.npz`, and the same encoder on normalised float32 batches that lie ready, as PyTorch lays them out "
            "(channels first) and with channels last, as `embed` does. Single precision. A ratio below 1 means that "
            "`embed` does less work than the bare encoder.",
            table(
                ["encoder", "embed", "bare", "bare, channels last", "time over bare", "time over channels last"],
                [row(scale, options) for scale in SCALES],
            ),
        ]
    )


def row(scale: str, options: argparse.Namespace) -> list[str]:
    """A row: the three rates, and the ratio of the times round by round."""
    name, size, count = SCALES[scale]
    images = photographs(count, size, "cpu").pixels.permute(0, 2, 3, 1).contiguous().numpy()
    torch.manual_seed(0)
    encoder = build_encoder(name, image_size=size).eval().to(options.device)
    encoder.spec = replace(encoder.spec, mean=MEAN, std=STD)
    ready = [normalised(part).to(options.device) for part in np.array_split(images, range(BATCH, count, BATCH))]
    last = [batch.contiguous(memory_format=torch.channels_last) for batch in ready]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "features.npz"

        def embed() -> int:
            selfsight.embed(encoder, images, out=out, devices=options.device, precision="32", overwrite=True)
            return count

        programs = {"embed": embed, "bare": lambda: bare(encoder, ready), "last": lambda: bare(encoder, last)}
        rates = alternately(programs, options.rounds, options.device, time.process_time)
    ours, plain, channels_last = rates.values()
    return [scale, *map(str, rates.values()), plain.over(ours), channels_last.over(ours)]


@torch.no_grad()
def bare(encoder: Encoder, batches: list[Tensor]) -> int:
    """What anybody would write: the encoder, batch by batch; how many images it saw."""
    return sum(len(encoder(batch)) for batch in batches)


def normalised(images: np.ndarray) -> Tensor:
    """A batch `(B, C, H, W)` as the encoder takes it, of uint8 images `(B, H, W, C)`."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).sub(mean) / std).contiguous()
