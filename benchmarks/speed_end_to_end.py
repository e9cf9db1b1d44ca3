"""SimCLR from image files to updated weights, beside lightly's on the same files, net, batch and workers."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import selfsight
from selfsight.data import open_source
from selfsight.data.subsets import limited
from selfsight.nets import build_encoder
from timing import Rates, rate, table

TITLE = "End to end"
BATCH, STEPS = 256, 3


def run(options: argparse.Namespace) -> str:
    """One table: ours and lightly's, each as it comes."""
    images = limited(open_source(options.data, split="train"), BATCH * STEPS, seed=0)
    theirs = lightly_epoch(images, options)
    programs: dict[str, Callable[[], float]] = {
        "selfsight": lambda: trained(images, options),
        "lightly": lambda: rate(theirs, options.device),
    }
    rounds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(max(3, options.rounds // 2)):
        for name, program in programs.items():
            rounds[name].append(program())
    rates = {name: Rates(values) for name, values in rounds.items()}
    rows = [[name, str(rates[name]), rates[name].over(rates["lightly"])] for name in programs]
    return "\n\n".join(
        [
            f"Images a second of SimCLR, ResNet-18 with the small-image stem at 32 px, batch {BATCH}, {STEPS} steps a "
            f"round, {options.threads} workers, CIFAR-10 as JPEG files, alternately in one run. lightly runs as its "
            "example does: its transform in a `DataLoader`, its head and loss, a plain loop in fp32. selfsight runs "
            "`pretrain` (resident lane, no monitor) with its defaults, which are bf16 where the hardware computes it; "
            "the rate is that of the run's last epoch.",
            table(["program", "images/s", "over lightly"], rows),
        ]
    )


def trained(images: Any, options: argparse.Namespace) -> float:
    """Images a second in the last epoch of a run."""
    with tempfile.TemporaryDirectory() as folder:
        run = selfsight.pretrain(
            images,
            method="simclr",
            encoder="resnet18",
            epochs=2,
            batch_size=BATCH,
            image_size=32,
            workers=options.threads,
            devices=options.device,
            monitor=False,
            out=Path(folder) / "run",
        )
        return float(run.metrics["images_per_second"].iloc[-1])


def lightly_epoch(images: Any, options: argparse.Namespace) -> Callable[[], int]:
    """lightly's SimCLR for one epoch over the same files, its workers started before."""
    folder = linked(images)
    encoder = build_encoder("resnet18", image_size=32)
    model = torch.nn.Sequential(encoder, SimCLRProjectionHead(encoder.width, 512, 128)).to(options.device)
    dataset = ImageFolder(str(folder), transform=SimCLRTransform(input_size=32))
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=options.threads,
        persistent_workers=True,
    )
    criterion = NTXentLoss()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.06)

    def epoch() -> int:
        done = 0
        for (first, second), _ in loader:
            loss = criterion(model(first.to(options.device)), model(second.to(options.device)))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            done += len(first)
        return done

    epoch()
    return epoch


def linked(images: Any) -> Path:
    """A folder with links to the images, a sub-folder a class, as lightly wants it."""
    folder = Path(tempfile.mkdtemp())
    for number, (path, label) in enumerate(zip(images.metadata["path"], images.metadata["label"], strict=True)):
        link = folder / str(label) / f"{number}{Path(path).suffix}"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(Path(path).resolve())
    return folder
