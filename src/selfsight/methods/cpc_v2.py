"""CPC v2."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from selfsight import losses
from selfsight.data.sizes import alike, each_axis
from selfsight.methods._context import Direction
from selfsight.methods.base import Method, Optimisation, Wants, together
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, Size, ViewSet, patches, two_views


class CPCV2(Method):
    """Predict an image's patches from those on one side of them, among all patches of the batch.

    Hénaff, Srinivas, De Fauw, Razavi, Doersch, Eslami, van den Oord: Data-Efficient Image Recognition with
    Contrastive Predictive Coding (ICML 2020), eq. 1-2.

    tile, stride: of the overlapping patches in pixels; None for the paper's 80/260 and 36/260 of the view,
        the tile rounded down to a multiple of 8: 8 and 4 at 32 pixels.
    target: width in which predictions and patches are compared.
    context: width of the context networks. depth: their number of residual blocks.
    offsets: how many rows ahead are predicted, from the next one on, as far as there are so many.
    directions: from which sides patches are predicted: above, below, left, right, in this order; None for all.
    scale: of the dot products.

    Every direction has a context network and linear maps of its own. Colours change in each patch by
    itself, crop and flip are those of the view; grey stands for the paper's dropped channels. Batch norm would
    let the patches of an image know one another: give the encoder a norm that looks at one patch alone.
    """

    optimisation = Optimisation(
        optimizer="adam", lr=4e-4, reference_batch=512, weight_decay=0.0, warmup_epochs=0, betas=(0.8, 0.999)
    )
    augmentation = Augmentation(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.66, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        tile: int | None = None,
        stride: int | None = None,
        target: int = 64,
        context: int = 256,
        depth: int = 5,
        offsets: int = 5,
        directions: int | None = None,
        scale: float = 0.1,
    ):
        super().__init__(encoder)
        self.tile, self.stride, self.scale = tile, stride, scale
        self.dims = len(encoder.spec.size)
        (view,) = self.views(alike(encoder.spec.size), self.augmentation).views
        assert view.tiles is not None
        self.grid = view.tiles.grid
        self.wants = Wants(views=prod(self.grid), smallest_batch=1)
        ahead = min(offsets, min(self.grid) - 1)
        if ahead < 1:
            raise ValueError(
                f"a grid of {self.grid} patches has none to predict: lower tile or stride, or raise offsets"
            )
        sides = [(axis, turned) for axis in range(self.dims) for turned in (False, True)][:directions]
        self.target = nn.Linear(encoder.width, target, bias=False)
        self.directions = nn.ModuleList(
            Direction(encoder.width, context, depth, target, ahead, axis, turned, self.dims) for axis, turned in sides
        )

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """The overlapping patches of one view, row after row."""
        tile, stride = tile_and_stride(min(each_axis(size, self.dims)))
        return patches(size, augmentation, tile=self.tile or tile, stride=self.stride or stride, dims=self.dims)

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Two whole views, to see whether they match."""
        return two_views(size, augmentation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of all predictions in all directions."""
        z = torch.stack(together(self.encoder, batch.views), dim=1)
        predictions, places = self.predict(z)
        return {"loss": losses.patch_nce(predictions, self.target(z), places, self.scale)}

    def predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions `(B, M, target)` from patches `z` `(B, N, width)`, and the place `(M,)` of each among the N."""
        grid = z.unflatten(1, self.grid)
        places = torch.arange(z.shape[1], device=z.device).view(self.grid)
        found = [direction(grid, places) for direction in self.directions]
        return torch.cat([p for p, _ in found], dim=1), torch.cat([place for _, place in found])

    def embed(self, view: Tensor) -> Tensor:
        """Encoder features of a whole view."""
        return self.encoder(view)


def tile_and_stride(size: int) -> tuple[int, int]:
    """The paper's patches of 80 pixels, 36 apart, in a view of `size` instead of 260."""
    return max(8, 80 * size // 260 // 8 * 8), max(1, round(36 * size / 260))
