"""torchvision's Mask R-CNN and Faster R-CNN on an encoder."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from selfsight.nets import Encoder
from selfsight.nets.levels import STRIDES, Levels

LARGEST = 1333 / 800  # of the long side to the short one, as COCO's images are resized


class Backbone(nn.Module):
    """Five maps of one width: the encoder's levels through a feature pyramid, and a coarser one.

    Lin et al.: Feature Pyramid Networks for Object Detection (CVPR 2017).
    """

    def __init__(self, encoder: Encoder, channels: int, frozen: bool):
        super().__init__()
        self.levels = Levels(encoder, frozen)
        self.pyramid = FeaturePyramidNetwork(list(self.levels.channels), channels, LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        levels = OrderedDict()
        for number, (stride, level) in enumerate(zip(STRIDES, self.levels(x), strict=True)):
            sides = tuple(math.ceil(side / stride) for side in x.shape[2:])
            # regions are looked up by strides that are powers of two, and patches of 14 px have others
            levels[str(number)] = level if level.shape[2:] == sides else F.interpolate(level, sides, mode="bilinear")
        return self.pyramid(levels)


def build_detector(encoder: Encoder, classes: int, size: int, channels: int, masked: bool, frozen: bool) -> nn.Module:
    """A detector of `classes` categories, numbered from 1; images are given in [0, 1], as they are.

    size: of the short side, to which images are resized. channels: of the pyramid and all heads, torchvision's are 256.
    """
    spec = encoder.spec
    heads: dict[str, Any] = {
        "box_head": TwoMLPHead(channels * 7**2, 4 * channels),
        "box_predictor": FastRCNNPredictor(4 * channels, classes + 1),
    }
    if masked:
        heads["mask_head"] = MaskRCNNHeads(channels, (channels,) * 4, 1)
        heads["mask_predictor"] = MaskRCNNPredictor(channels, channels, classes + 1)
    step = math.lcm(max(STRIDES), encoder.patch) if encoder.takes_keep else max(STRIDES)
    kind = MaskRCNN if masked else FasterRCNN
    return kind(
        Backbone(encoder, channels, frozen),
        min_size=size,
        max_size=round(LARGEST * size),
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        size_divisible=step,
        **heads,
    )


def mirrored(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The mirror image of an image `(C, H, W)` and of what is in it."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
    turned = {**target, "boxes": boxes}
    if "masks" in target:
        turned["masks"] = target["masks"].flip(-1)
    return image.flip(-1), turned


def unit(image: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Pixels in [0, 1]."""
    low, high = value_range
    return ((image.to(torch.float32) - low) / (high - low)).clamp(0, 1)
