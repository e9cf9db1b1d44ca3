"""epsilon-SupInfoNCE."""

from __future__ import annotations

from selfsight import losses
from selfsight.methods.eps_supcon import EpsSupCon


class EpsSupInfoNCE(EpsSupCon):
    """Contrast each view of a class, one at a time, with other classes by a margin; needs labels.

    Barbano, Dufumier, Tartaglione, Grangetto, Gori: Unbiased Supervised Contrastive Learning (ICLR 2023).

    projector: widths of the head's layers, no batch norm; none, `[]`, contrasts the features themselves.
    temperature: of the softmax.
    epsilon: the margin, on similarities over the temperature.

    An image without a label (-1) has only its own other views as positives. The factor
    temperature / 0.07 of the authors' code is left out: it only scales the loss. The rate follows
    a warm-up and a cosine; the paper divides it by ten at epochs 700, 800 and 900 of 1000.
    """

    optimisation, augmentation = EpsSupCon.optimisation, EpsSupCon.augmentation
    loss = staticmethod(losses.eps_supinfonce)
