"""A decoder trained for a class of each pixel."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from selfsight.data import Canvas, Source, subset
from selfsight.metrics import Pixels
from selfsight.nets import Encoder
from selfsight.probes.features import Reader
from selfsight.protocols._dense import Counts, OfPixels, judge_pixels
from selfsight.protocols._segmenter import KeptMasks, Segmenter, pixel_loss, seen_masks
from selfsight.protocols._training import crops, fit, layer_groups, plain_groups, seeded, shuffled
from selfsight.protocols.base import Answer, MaskTask
from selfsight.views.batch import image_layout

HOLD_OUT = 0.1
AUXILIARY = 0.4  # the weight of the loss of the second level's own scores


@dataclass(frozen=True)
class Segmentation(OfPixels):
    """UPerNet on the encoder, trained with it or on it frozen; mIoU over the whole data set.

    Xiao et al.: Unified Perceptual Parsing for Scene Understanding (ECCV 2018), as BEiT and MAE judge by it: a second
    head of weight .4, AdamW, rates that decay from layer to layer, random crops and mirror images; a plain ViT has
    ViTDet's simple pyramid. The last epoch counts. A test image is seen whole, resized to the encoder's size, and
    scores are resized to its mask. The decoder is that of segmentation-models-pytorch.

    epochs: how often every training image is seen.
    batch_size: images a step.
    lrs: peak rates; of several the one with the best mIoU on a tenth of the training images is taken.
    layer_decay: of the rate from a layer of the encoder to the one below, 1 for none.
    weight_decay: of AdamW.
    warmup: the share of steps in which the rate rises.
    frozen: leave the encoder as it is and train the decoder alone.
    channels: of the decoder.
    scale: smallest share of an image's area that a crop has.
    flip: how often images are mirrored.
    classes: numbers of masks from 0 that are classes, any other an error; 0 for those that training masks hold.
    ignore: numbers of pixels that do not count.
    of: the column of masks.
    """

    trains: ClassVar[bool] = True

    epochs: int = 50
    batch_size: int = 16
    lrs: tuple[float, ...] = (1e-3,)
    layer_decay: float = 0.75
    weight_decay: float = 0.05
    warmup: float = 0.1
    frozen: bool = False
    channels: int = 256
    scale: float = 0.25
    flip: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1 or self.batch_size < 2 or not self.lrs or min(self.lrs) <= 0 or self.channels < 1:
            raise ValueError(
                f"segmentation wants at least one epoch, two images a batch, a channel and rates above 0, not epochs "
                f"{self.epochs}, batch_size {self.batch_size}, channels {self.channels} and lrs {self.lrs}"
            )

    def __call__(self, task: MaskTask) -> Iterator[Answer]:
        for row, encoder, reader in task.encoders(trained=not self.frozen):
            train, test = task.sources(reader)
            reader = reader.of_whole_images()
            lr = self.choose(task, encoder, reader, train)
            counts = self.judged(task, encoder, reader, train, test, lr, row)
            yield task.answer(row, counts, lr=lr)

    def choose(self, task: MaskTask, encoder: Encoder, reader: Reader, train: Source) -> float:
        """The rate that is best on images that are held out of training."""
        if len(self.lrs) == 1:
            return self.lrs[0]
        held, rest = shuffled(len(train), task.seed).tensor_split([max(1, math.ceil(HOLD_OUT * len(train)))])
        sides = subset(train, rest.numpy()), subset(train, held.numpy())
        scores = {}
        for lr in self.lrs:
            counts = self.judged(task, encoder, reader, *sides, lr, f"rate {lr:g}")
            pixels = Pixels(*map(torch.stack, zip(*counts, strict=True)), names=task.names)
            scores[lr] = float(pixels.values(torch.ones(1, len(counts)))["miou"])
        return max(scores, key=lambda lr: scores[lr])

    def judged(
        self, task: MaskTask, encoder: Encoder, reader: Reader, train: Source, test: Source, lr: float, what: str
    ) -> list[Counts]:
        """Counts of pixels of each test image, by a copy of the encoder that was trained on the others."""
        with seeded(task.seed):
            model = Segmenter(copy.deepcopy(encoder), len(task.names), self.channels, self.frozen).to(reader.device)
            judged = self.train(model, task, reader, train, lr, what)
        return judge_pixels(task, test, reader, judged)

    def train(
        self, model: Segmenter, task: MaskTask, reader: Reader, source: Source, lr: float, what: str
    ) -> nn.Module:
        """The model after the last epoch, in evaluation mode."""
        device, seed = reader.device, torch.initial_seed() % 2**31
        lane, views = crops(reader, source, self.batch_size, self.scale, self.flip)
        generator = torch.Generator().manual_seed(seed)
        masks = KeptMasks(task, source)

        def loss(batch: list[Canvas]) -> Tensor:
            seen = views([canvas.to(device, non_blocking=True) for canvas in batch], generator)
            extent = torch.cat([canvas.extent for canvas in batch])
            found = [masks(index) for index in seen.index.tolist()]
            truth = seen_masks(seen, extent, found).to(device)
            scores, others = model.both(image_layout(seen.views[0]))
            return pixel_loss(scores, truth) + AUXILIARY * pixel_loss(others, truth)

        parts = [one for name, one in model.named_children() if name != "levels"] + [model.levels.steps]
        groups = plain_groups(*parts, weight_decay=self.weight_decay)
        if not self.frozen:
            groups += layer_groups(model.levels.encoder, self.weight_decay, self.layer_decay)
        steps = self.epochs * len(lane)
        batches = (batch for _ in range(self.epochs) for batch in lane)
        return fit(model, groups, batches, steps, loss, lr=lr, warmup=self.warmup, what=f"segmentation, {what}")
