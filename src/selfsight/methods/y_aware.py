"""y-Aware InfoNCE."""

from __future__ import annotations

from selfsight import losses
from selfsight.methods._by_value import ByValue
from selfsight.methods.base import Optimisation


class YAware(ByValue):
    """Contrast images, those with similar values of a number pulled together; needs columns of numbers.

    Dufumier, Gori, Victor, Grigis, Wessa, Brambilla, Favre, Polosan, McDonald, Piguet, Duchesnay: Contrastive
    Learning with Continuous Proxy Meta-Data for 3D MRI Classification (MICCAI 2021), eq. 2.

    columns: of metadata, whose numbers are compared.
    kernel: how a difference becomes a weight; see `losses.kernel_weights`.
    bandwidth: of the kernel, one number or one for each column, or the rule that finds it from the values of all
        training images; the paper takes 5 years of age.
    projector: widths of the head's layers; no batch norm.
    temperature: of the softmax.

    An anchor's weights are divided by their own sum, as the paper writes; the authors' code divides by another
    anchor's. An image with a missing value has only its own other views as positives. The rate follows a cosine.
    The paper's augmentation is for volumes; here it is the usual one for photographs, with milder colours.
    """

    optimisation = Optimisation(optimizer="adam", lr=1e-4, reference_batch=None, weight_decay=5e-5, warmup_epochs=0)
    augmentation = ByValue.augmentation
    loss = staticmethod(losses.y_aware)
