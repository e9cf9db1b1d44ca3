"""Pure functions that tell how healthy features are; they answer scalar tensors.

All see the features they are given and nothing of other ranks.
"""

from selfsight.diagnostics.entropy import entropy, usage_entropy
from selfsight.diagnostics.geometry import alignment, spread, uniformity, view_matching_accuracy
from selfsight.diagnostics.rank import rank_me

__all__ = [
    "alignment",
    "entropy",
    "rank_me",
    "spread",
    "uniformity",
    "usage_entropy",
    "view_matching_accuracy",
]
