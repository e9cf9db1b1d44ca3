"""Maps from fine to coarse, as decoders and detectors want them, of nets with stages and of those with one map."""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.nets.encoder import Encoder

STRIDES = (4, 8, 16, 32)


class Levels(nn.Module):
    """Maps `(B, channels[i], h, w)` of an encoder at strides as near to 4, 8, 16 and 32 as its own come.

    Maps that the net has are taken as they are. A coarser one is pooled from its last; a finer one is made of the
    finest by transposed convolutions. So a plain ViT of 16 px patches has the simple feature pyramid of ViTDet (Li et
    al., ECCV 2022): x4, x2, x1 and x1/2 of its last map.

    frozen: whether the encoder stays as it is, in evaluation mode and without gradients, while the rest is trained.

    Raises:
        ValueError: for an encoder of volumes, or without any map.
    """

    def __init__(self, encoder: Encoder, frozen: bool = False):
        super().__init__()
        check_flat_maps(encoder)
        self.encoder = encoder.requires_grad_(not frozen)
        self.frozen = frozen
        maps = encoder.maps[-1:] if encoder.takes_keep else encoder.maps
        own = {2 ** round(math.log2(stride)): place for place, (_, stride) in enumerate(maps)}  # the last of a stride
        sources = [own[nearest(own, stride)] for stride in STRIDES]
        self.places = [place - len(maps) for place in sources]
        self.pools = [max(1, stride // max(own)) for stride in STRIDES]
        doublings = [max(0, round(math.log2(nearest(own, stride) / stride))) for stride in STRIDES]
        widths = [maps[place][0] for place in sources]
        self.steps = nn.ModuleList(map(finer, widths, doublings))
        self.channels = tuple(width // 2**times for width, times in zip(widths, doublings, strict=True))

    def train(self, mode: bool = True) -> Levels:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.encoder.takes_keep:
            found = (self.encoder.dense(x),)
        else:
            found = self.encoder.features(x, layers=-min(self.places)).layers
        levels = []
        for place, pool, step in zip(self.places, self.pools, self.steps, strict=True):
            level = step(found[place])
            if pool > 1:
                sides = [max(1, math.ceil(side / pool)) for side in level.shape[2:]]
                level = F.adaptive_max_pool2d(level, (sides[0], sides[1]))
            levels.append(level)
        return levels


def nearest(own: Collection[int], stride: int) -> int:
    """The stride of the net's own from which a level is made: the same, the next coarser, or the coarsest."""
    return min((one for one in own if one >= stride), default=max(own))


def finer(width: int, times: int) -> nn.Module:
    """Doubles the sides of a map so many times, and halves its channels each time."""
    parts: list[nn.Module] = []
    for number in range(times):
        if number:
            parts += [ChannelNorm(width), nn.GELU()]
        parts.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width //= 2
    return nn.Sequential(*parts)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map `(B, C, h, w)`."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def check_flat_maps(encoder: Encoder) -> None:
    """Raise a `ValueError` for an encoder that has no maps of images of two axes."""
    if encoder.spec.dims != 2:
        raise ValueError(f"the encoder {encoder.spec.name!r} is for volumes: decoders and detectors are for 2-D images")
    if not encoder.maps:
        raise ValueError(
            f"the encoder {encoder.spec.name!r} answers pooled features alone and has no map: ResNets, ConvNeXts and "
            "ViTs have one, and modules of your own with timm's forward_intermediates"
        )
