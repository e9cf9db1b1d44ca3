"""Estimators on arrays of features, in scikit-learn's manner, and how features are read from a source."""

from selfsight.probes.features import Reader, extract_features, pixels
from selfsight.probes.knn import KNN
from selfsight.probes.linear import Linear
from selfsight.probes.ridge import Ridge

__all__ = ["KNN", "Linear", "Reader", "Ridge", "extract_features", "pixels"]
