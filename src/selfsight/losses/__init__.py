"""Pure functions of tensors, in float32 whatever the autocast, exact under distributed training.

The mean over ranks of what they return, and of the gradients, is that of the global batch.
"""

from selfsight.losses.clustering import sinkhorn, swapped_prediction
from selfsight.losses.contrastive import (
    alignment,
    cross_view,
    dcl,
    dcl_weights,
    debiased,
    hard_negatives,
    info_nce,
    nt_xent,
    supcon,
    uniformity,
)
from selfsight.losses.dependence import distance_correlation
from selfsight.losses.distillation import byol, cross_view_entropy, dino, mean_shift, negative_cosine
from selfsight.losses.information import barlow_twins, covariance, standardise, variance_hinge, vicreg
from selfsight.losses.kernels import KERNELS, RULES, each_column, kernel_weights, rule_of_thumb
from selfsight.losses.memory import instance_nce, instance_softmax, log_partition, patch_nce
from selfsight.losses.metric import MINING, margin, n_pair, soft_nearest_neighbour, triplet
from selfsight.losses.mutual_information import donsker_varadhan, jensen_shannon, local_info_nce
from selfsight.losses.reconstruction import masked_reconstruction, normalise_patches, patchify, unpatchify
from selfsight.losses.weak import (
    eps_infonce,
    eps_supcon,
    eps_supinfonce,
    fair_kl,
    regression_exp,
    regression_thr,
    y_aware,
)
from selfsight.precision import full_precision

__all__ = [
    "KERNELS",
    "MINING",
    "RULES",
    "alignment",
    "barlow_twins",
    "byol",
    "covariance",
    "cross_view",
    "cross_view_entropy",
    "dcl",
    "dcl_weights",
    "debiased",
    "dino",
    "distance_correlation",
    "donsker_varadhan",
    "each_column",
    "eps_infonce",
    "eps_supcon",
    "eps_supinfonce",
    "fair_kl",
    "full_precision",
    "hard_negatives",
    "info_nce",
    "instance_nce",
    "instance_softmax",
    "jensen_shannon",
    "kernel_weights",
    "local_info_nce",
    "log_partition",
    "margin",
    "masked_reconstruction",
    "mean_shift",
    "n_pair",
    "negative_cosine",
    "normalise_patches",
    "nt_xent",
    "patch_nce",
    "patchify",
    "regression_exp",
    "regression_thr",
    "rule_of_thumb",
    "sinkhorn",
    "soft_nearest_neighbour",
    "standardise",
    "supcon",
    "swapped_prediction",
    "triplet",
    "uniformity",
    "unpatchify",
    "variance_hinge",
    "vicreg",
    "y_aware",
]
