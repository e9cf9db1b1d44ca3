"""Metric learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, Wants, mean, pairs, together, unit
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch

LOSSES = ("triplet", "margin", "n_pair", "soft_nearest_neighbour")


class MetricLearning(Method):
    """Bring views of an image nearer than those of others by a loss of metric learning.

    Wu, Manmatha, Smola, Krahenbuhl: Sampling Matters in Deep Embedding Learning (ICCV 2017), section 4;
    Sohn: Improved Deep Metric Learning with Multi-class N-pair Loss Objective (NIPS 2016), section 3;
    Frosst, Papernot, Hinton: Analyzing and Improving Representations with the Soft Nearest Neighbor
    Loss (ICML 2019), eq. 1; Schroff, Kalenichenko, Philbin: FaceNet: A Unified Embedding for Face
    Recognition and Clustering (CVPR 2015), section 3.

    loss: "triplet", "margin", "n_pair" or "soft_nearest_neighbour".
    positives: "views", every image is a class of its own; or "labels", the classes of the data.
    projector: widths of the head's layers; no batch norm.
    mining: of triplets: "semi_hard", "hard" (one an anchor) or "all".
    margin: of the triplet and the margin loss.
    smooth: softplus for the triplet's hinge.
    beta: boundary of the margin loss, at the start; it is learned.
    regulariser: weight of that boundary in the margin loss, the paper's nu.
    penalty: weight of the lengths in the N-pair loss.
    temperature: of the soft nearest neighbours.

    An image without a label (-1) is a class of its own. The margin loss weighs each negative by the
    probability that the paper draws it with, so nothing is drawn and any number of processes agree.
    Embeddings have length one, except for the N-pair loss. The papers have labels and no views:
    the rate is that of self-supervised exemplars, SGD at .1, with a warm-up and a cosine for the steps. Distances
    in the triplet loss are not squared, where FaceNet's are.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.1, weight_decay=1e-4, warmup_epochs=5)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: str = "triplet",
        positives: str = "views",
        projector: Sequence[int] = (2048, 128),
        mining: str = "semi_hard",
        margin: float = 0.2,
        smooth: bool = False,
        beta: float = 1.2,
        regulariser: float = 0.0,
        penalty: float = 0.002,
        temperature: float = 0.2,
    ):
        for name, value, known in (("loss", loss, LOSSES), ("positives", positives, ("views", "labels"))):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}")
        if mining not in losses.MINING:
            raise ValueError(f"mining is one of {', '.join(losses.MINING)}, not {mining!r}")
        super().__init__(encoder)
        self.wants = Wants(views=2, or_more=True, label=positives == "labels")
        self.projector = mlp(encoder.width, *projector, norm=False)
        self.beta = nn.Parameter(torch.tensor(float(beta))) if loss == "margin" else None
        self.options: dict[str, Any] = {
            "triplet": {"mining": mining, "margin": margin, "smooth": smooth},
            "margin": {"beta": self.beta, "margin": margin, "regulariser": regulariser},
            "n_pair": {"penalty": penalty},
            "soft_nearest_neighbour": {"temperature": temperature},
        }[loss]
        self.name = loss

    def idle(self) -> dict[str, str]:
        """The keywords of the other losses."""
        others = {"mining", "margin", "smooth", "beta", "regulariser", "penalty", "temperature"} - set(self.options)
        return dict.fromkeys(sorted(others), f"with loss={self.name!r}")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or more, and the mean distances to positives and to negatives."""
        z = together(self.embed, batch.views)
        labels = batch.metadata["label"] if self.wants.label else None
        function: Callable[..., Tensor] = getattr(losses, self.name)
        if self.name == "n_pair":
            loss = mean([function(anchor, positive, labels, **self.options) for anchor, positive in pairs(z)])
        else:
            loss = function([unit(view) for view in z], labels, **self.options)
        learned = {"beta": self.beta.detach()} if self.beta is not None else {}
        return {"loss": loss, **distances(z, batch, labels), **learned}

    def embed(self, view: Tensor) -> Tensor:
        """Embeddings `z`."""
        return self.projector(self.encoder(view))


@torch.no_grad()
def distances(z: Sequence[Tensor], batch: Batch, labels: Tensor | None) -> dict[str, Tensor]:
    """Mean distance of first views `(B, D)` to the second ones of their class, and to those of others.

    A constant embedding is a stationary point of the triplet loss: its loss may look well while
    both distances are near 0.
    """
    kind = -1 - batch.index if labels is None else torch.where(labels < 0, -1 - batch.index, labels)
    same = kind[:, None] == kind
    first, second = map(unit, z[:2])
    d = (2 - 2 * first @ second.T).clamp(min=0).sqrt()
    return {"d_ap": (d * same).sum() / same.sum(), "d_an": (d * ~same).sum() / (~same).sum().clamp(min=1)}
