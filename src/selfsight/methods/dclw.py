"""DCLW."""

from __future__ import annotations

from collections.abc import Sequence

from selfsight.methods.dcl import DCL
from selfsight.nets import Encoder


class DCLW(DCL):
    """Decoupled contrast in which a positive weighs the more the less its two views agree.

    Yeh, Hong, Hsu, Liu, Chen, LeCun: Decoupled Contrastive Learning (ECCV 2022), eq. 6 with the
    negative von Mises-Fisher weights.

    projector: widths of the head's layers; batch norm after all but the last.
    temperature: of the softmax.
    sigma: temperature of the weights, which have a mean of one over the batch.

    The weights pass no gradient, and the loss is the mean over both directions, as in `dcl`.
    """

    optimisation, augmentation = DCL.optimisation, DCL.augmentation

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (2048, 128),
        temperature: float = 0.1,
        sigma: float = 0.5,
    ):
        super().__init__(encoder, projector=projector, temperature=temperature)
        self.sigma = sigma
