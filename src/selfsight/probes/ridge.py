"""Ridge regression on features, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.probes.arrays import Array, Standardiser, accuracy, as_classes, as_features, as_targets

ALPHAS = tuple(10.0**power for power in range(-2, 6))


class Ridge:
    """Least squares with an L2 penalty `alpha`, on standardised features, exact in closed form.

    Integer labels `(N,)` are classes, regressed one-hot; floating-point targets `(N,)` or `(N, T)` are numbers.
    One eigendecomposition serves all `alphas`; the one with the best leave-one-out score is kept, the
    largest where several tie. Computed in float64.

    Fitted: `alpha_`, `classes_ (C,)` or None, `weight_ (D, T)`, `bias_ (T,)`.
    """

    def __init__(self, alphas: Sequence[float] = ALPHAS):
        self.alphas = alphas

    def fit(self, features: Array, labels: Array) -> Ridge:
        """Learn from features `(N, D)` and classes or numbers."""
        if not self.alphas or min(self.alphas) <= 0:
            raise ValueError(f"Ridge wants alphas above 0, got {tuple(self.alphas)}")
        features = as_features(features, dtype=torch.float64)
        targets = self._as_numbers(labels, features)
        self.standardise_ = Standardiser.of(features)
        x = self.standardise_(features)
        self.bias_ = targets.mean(dim=0)
        centred = targets - self.bias_

        basis, power = left_singular(x)
        scores = {
            alpha: self._score(leave_one_out(basis, power, centred, alpha) + self.bias_, targets)
            for alpha in sorted(self.alphas, reverse=True)
        }
        self.alpha_ = max(scores, key=lambda alpha: scores[alpha])
        self.weight_ = x.T @ (basis @ ((basis.T @ centred) / (power + self.alpha_)[:, None]))
        return self

    def decide(self, features: Array) -> Tensor:
        """Regressed values `(N, T)`: a column a class or a number."""
        features = as_features(features, self.weight_.device, torch.float64)
        return self.standardise_(features) @ self.weight_ + self.bias_

    def predict(self, features: Array) -> Tensor:
        """Labels `(N,)`, or numbers in the shape of the targets, of features `(N, D)`."""
        decided = self.decide(features)
        if self.classes_ is not None:
            return self.classes_[decided.argmax(dim=1)]
        return decided.squeeze(1) if self._single else decided

    def score(self, features: Array, labels: Array) -> float:
        """Accuracy for classes, the mean coefficient of determination R² for numbers."""
        if self.classes_ is not None:
            return accuracy(self.predict(features), labels)
        decided = self.decide(features)
        return determination(decided, as_targets(labels, decided).double().reshape(decided.shape))

    def _as_numbers(self, labels: Array, features: Tensor) -> Tensor:
        targets = as_targets(labels, features)
        self._single = targets.ndim == 1
        if targets.is_floating_point():
            self.classes_ = None
            return targets.double().reshape(len(targets), -1)
        self.classes_, positions = as_classes(targets, features)
        return F.one_hot(positions, len(self.classes_)).double()

    def _score(self, predicted: Tensor, targets: Tensor) -> float:
        if self.classes_ is None:
            return determination(predicted, targets)
        return (predicted.argmax(dim=1) == targets.argmax(dim=1)).double().mean().item()


def left_singular(x: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors `(N, R)` and squared singular values `(R,)` of `x (N, D)`, by the smaller Gram matrix."""
    wide = x.shape[1] > x.shape[0]
    power, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = power > power[-1] * max(x.shape) * torch.finfo(x.dtype).eps
    power, vectors = power[kept], vectors[:, kept]
    return (vectors if wide else x @ (vectors / power.sqrt())), power


def leave_one_out(basis: Tensor, power: Tensor, targets: Tensor, alpha: float) -> Tensor:
    """What ridge predicts for each centred target `(N, T)` when fitted to all the others.

    Allen: The relationship between variable selection and data augmentation (1974): the residual
    of the fit to all, divided by one minus the leverage, which the intercept raises by 1 / N.
    """
    shrinkage = power / (power + alpha)
    fitted = basis @ (shrinkage[:, None] * (basis.T @ targets))
    leverage = basis.square() @ shrinkage + 1 / len(targets)
    return targets - (targets - fitted) / (1 - leverage).clamp_min(1e-9)[:, None]


def determination(predicted: Tensor, targets: Tensor) -> float:
    """R², one minus unexplained over total variance, mean over the columns `(N, T)`."""
    unexplained = (targets - predicted).square().sum(dim=0)
    total = (targets - targets.mean(dim=0)).square().sum(dim=0)
    return (1 - unexplained / total.clamp_min(1e-12)).mean().item()
