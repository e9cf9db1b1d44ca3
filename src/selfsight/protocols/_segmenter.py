"""UPerNet on an encoder, and masks as views of their images see them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.data import Source
from selfsight.nets import Encoder
from selfsight.nets.levels import Levels
from selfsight.protocols.base import MaskTask
from selfsight.views.batch import Batch
from selfsight.views.resample import pixel_centres

MOST_PIXELS = 2**29  # of masks that are kept, a gigabyte


class Segmenter(nn.Module):
    """Scores `(B, classes, h, w)` of pixels, at the encoder's finest level, by UPerNet's decoder."""

    def __init__(self, encoder: Encoder, classes: int, channels: int, frozen: bool):
        super().__init__()
        try:
            from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
        except ImportError as error:
            raise ValueError('segmentation wants a package more: pip install "selfsight[dense]"') from error
        self.levels = Levels(encoder, frozen)
        widths = self.levels.channels
        self.decoder = UPerNetDecoder([0, 0, *widths], encoder_depth=len(widths) + 1, decoder_channels=channels)
        self.head = nn.Conv2d(channels, classes, 1)
        self.auxiliary = nn.Sequential(
            nn.Conv2d(widths[2], channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, classes, 1),
        )

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the decoder, and of the third level alone."""
        levels = self.levels(x)
        return self.head(self.decoder([x, x, *levels])), self.auxiliary(levels[2])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decoder([x, x, *self.levels(x)]))


class KeptMasks:
    """Masks `(H, W)` of a source's images by their position, in memory as far as `MOST_PIXELS` go."""

    def __init__(self, task: MaskTask, source: Source):
        self.task = task
        self.source = source
        self.kept: dict[int, Tensor] = {}
        self.pixels = 0

    def __call__(self, index: int) -> Tensor:
        if index in self.kept:
            return self.kept[index]
        mask = self.task.mask(self.source, index).to(torch.int16)
        if self.pixels + mask.numel() <= MOST_PIXELS:
            self.kept[index] = mask
            self.pixels += mask.numel()
        return mask


def seen_masks(batch: Batch, extent: Tensor, masks: list[Tensor]) -> Tensor:
    """Classes `(B, h, w)` of the pixels of each view: of the mask's pixel at its centre."""
    view, place = batch.views[0], batch.places[0].to(torch.device("cpu"))
    centres = [pixel_centres(side, place.centre.device) for side in view.shape[2:]]
    grid = torch.stack(torch.meshgrid(*centres, indexing="ij"), dim=-1)
    points = place.centre[:, None, None] + torch.einsum("bij,hwj->bhwi", place.axes, grid)
    shares = points / extent.cpu()[:, None, None]
    found = []
    for where, mask in zip(shares, masks, strict=True):
        sides = torch.tensor(mask.shape)
        row, column = (where * sides).floor().long().clamp_min(0).minimum(sides - 1).unbind(-1)
        found.append(mask[row, column])
    return torch.stack(found).long()


def pixel_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of scores `(B, C, h, w)`, resized to the pixels of `truth (B, H, W)`, of those that are known."""
    scores = F.interpolate(scores.float(), tuple(truth.shape[1:]), mode="bilinear")
    known = truth >= 0
    return F.cross_entropy(scores, truth, ignore_index=-1, reduction="sum") / known.sum().clamp_min(1)
