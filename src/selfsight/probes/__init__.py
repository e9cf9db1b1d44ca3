"""Estimators on arrays of features, in scikit-learn's manner: `fit`, `predict`, `score`."""

from selfsight.probes.knn import KNN
from selfsight.probes.linear import Linear
from selfsight.probes.ridge import Ridge

__all__ = ["KNN", "Linear", "Ridge"]
