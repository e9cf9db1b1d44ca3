"""Features and labels as tensors, and standardised features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor


def as_tensor(values: Array) -> Tensor:
    """`values` as a tensor, copied where they may not be written, as pandas hands them out: torch would warn."""
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()
    return torch.as_tensor(values)


def as_features(features: Array, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Features as a finite floating-point tensor `(N, D)`, on their own device unless one is given."""
    features = as_tensor(features).detach().to(device=device, dtype=dtype)
    if features.ndim != 2:
        raise ValueError(f"a probe takes features (N, D), got the shape {tuple(features.shape)}: pool or flatten them")
    if not features.isfinite().all():
        raise ValueError("the features hold NaN or infinity: the encoder has diverged, or its input was not finite")
    return features


def as_classes(labels: Array, features: Tensor) -> tuple[Tensor, Tensor]:
    """The sorted classes `(C,)` and the position of each label among them `(N,)`."""
    labels = as_targets(labels, features)
    if labels.ndim != 1:
        raise ValueError(f"a classifier takes one label an image, (N,), got the shape {tuple(labels.shape)}")
    classes, positions = labels.unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"a probe needs images of at least two classes, got {classes.tolist()}: check the labels")
    return classes, positions


def as_targets(targets: Array, features: Tensor) -> Tensor:
    """Labels or regression targets `(N, ...)` beside their features, on the same device."""
    targets = as_tensor(targets).to(features.device)
    if len(targets) != len(features):
        raise ValueError(f"got {len(features)} rows of features and {len(targets)} labels: pass one label a row")
    return targets


def accuracy(predicted: Tensor, labels: Array) -> float:
    """Share of labels that are predicted exactly."""
    labels = as_targets(labels, predicted)
    return (predicted == labels).float().mean().item()


@dataclass(frozen=True)
class Standardiser:
    """Zero mean and unit variance for each feature; a constant feature becomes zero."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        """The mean and scale of training features `(N, D)`."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        noise = torch.finfo(features.dtype).eps * 10 * mean.abs()
        return cls(mean, torch.where(std > noise, std.reciprocal(), 0))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale
