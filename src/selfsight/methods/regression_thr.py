"""L^thr for regression."""

from __future__ import annotations

from selfsight import losses
from selfsight.methods._by_value import ByValue
from selfsight.methods.base import Optimisation


class RegressionThr(ByValue):
    """Contrast near images with those whose number lies further away only; needs columns of numbers.

    Barbano, Dufumier, Duchesnay, Grangetto, Gori: Contrastive Learning for Regression in Multi-Site Brain Age
    Prediction (ISBI 2023), L^thr.

    columns: of metadata, whose numbers are compared.
    kernel: how a difference becomes a weight; see `losses.kernel_weights`.
    bandwidth: of the kernel, one number or one for each column, or the rule that finds it from the values of all
        training images; the paper takes 2 years of age.
    projector: widths of the head's layers; no batch norm.
    temperature: of the softmax.

    A positive competes with the images that weigh less than itself, which the authors' code computes otherwise.
    Weights are divided by their sum over all images: by that over the lighter ones, as in the paper's formula,
    the least similar positive would count without bound. An image with a missing value has only its own other
    views as positives. The rate follows a cosine; the paper's falls by a tenth every 10 epochs.
    """

    optimisation = Optimisation(optimizer="adam", lr=1e-4, reference_batch=None, weight_decay=5e-5, warmup_epochs=0)
    augmentation = ByValue.augmentation
    loss = staticmethod(losses.regression_thr)
