"""Deep InfoMax."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, Wants
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, Size, ViewSet, random_view, two_views

ESTIMATORS = {"jsd": losses.jensen_shannon, "info_nce": losses.local_info_nce, "dv": losses.donsker_varadhan}


class DeepInfoMax(Method):
    """Tell which places belong to an image by its global features; one view of each image.

    Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler, Bengio: Learning deep
    representations by mutual information estimation and maximization (ICLR 2019), eq. 2 and 4-6.

    estimator: of the mutual information: "jsd", "info_nce" or "dv".
    units: width of the two networks that places and images are scored by.
    earlier: how many maps before the last the places are of; a ResNet's maps are those of its stages, a ViT's
        those of its blocks. The last map, 0, is what global features are the mean of, which says little.

    Places and the encoder's global features each pass a network of its own. Global pairs and the adversarial
    prior are left out: the paper's local variant does best without the one, and the other would need a second
    optimiser. Views are lightly cropped and mirrored, where the paper's are whole images; the rate follows a
    cosine, where the paper's is constant.
    """

    optimisation = Optimisation(
        optimizer="adam", lr=1e-4, reference_batch=None, weight_decay=0.0, warmup_epochs=0, betas=(0.5, 0.999)
    )
    augmentation = Augmentation(scale=(0.8, 1.0), jitter_p=0.0, grayscale=0.0, blur=0.0)
    wants = Wants(views=1)

    def __init__(self, encoder: Encoder, *, estimator: str = "jsd", units: int = 2048, earlier: int = 1):
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator is one of {', '.join(ESTIMATORS)}, not {estimator!r}")
        super().__init__(encoder)
        self.estimator = ESTIMATORS[estimator]
        self.earlier = earlier
        self.local_network = _Scorer(map_width(encoder, earlier), units)
        self.global_network = _Scorer(encoder.width, units)

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """One view of each image."""
        return ViewSet((random_view(size, augmentation.of_view(0)),))

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Two views, which training never compares."""
        return two_views(size, augmentation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The negative bound, of one pass through the encoder."""
        features = self.encoder.features(batch.views[0], layers=self.earlier + 1)
        places, whole = self.places(features.layers[0]), features.pooled
        count = places.shape[1]
        scored = self.local_network(places.flatten(0, 1)).unflatten(0, (-1, count))
        return {"loss": self.estimator(scored, self.global_network(whole))}

    def places(self, layer: Tensor) -> Tensor:
        """Places `(B, L, D)` of a layer: of a map `(B, D, *grid)`, or of a ViT's tokens, normed as its last ones."""
        if self.encoder.takes_keep:
            return self.encoder.model.norm(layer)[:, self.encoder.prefix :]
        return layer.flatten(2).transpose(1, 2)

    def embed(self, view: Tensor) -> Tensor:
        """What the places are scored with: global features through their network."""
        return self.global_network(self.encoder(view))


class _Scorer(nn.Module):
    """Two layers beside a shortcut that begins as the identity, and a layer norm."""

    def __init__(self, width: int, units: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(), nn.Linear(units, units)
        )
        self.shortcut = nn.Linear(width, units, bias=False)
        nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
        with torch.no_grad():
            self.shortcut.weight.fill_diagonal_(1.0)
        self.norm = nn.LayerNorm(units)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(x) + self.shortcut(x))


def map_width(encoder: Encoder, earlier: int) -> int:
    """Channels of an encoder's map, the last one or an earlier one."""
    if not encoder.maps:
        raise ValueError(
            f"DeepInfoMax compares places and {encoder.spec.name!r} answers pooled features alone: "
            f"choose an encoder of timm, or give yours timm's forward_intermediates and forward_head"
        )
    if not 0 <= earlier < len(encoder.maps):
        raise ValueError(
            f"earlier is {earlier}, and {encoder.spec.name!r} has no such map: 0 is the last, 1 the one before"
        )
    return encoder.maps[-1 - earlier][0]
