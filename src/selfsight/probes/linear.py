"""A linear classifier whose learning rate and penalty are chosen on a hold-out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.data.subsets import stratified_order
from selfsight.probes.arrays import Array, Standardiser, accuracy, as_classes, as_features
from selfsight.progress import track


class Linear:
    """Multinomial logistic regression on standardised features, trained by Adam with a cosine schedule.

    Every pair of `lrs` and `weight_decays` (an L2 penalty on the weights, not on the bias) is a head;
    all heads are trained at once, as one matrix, on all but a stratified `holdout` share of the images.
    The pair with the best hold-out accuracy, then loss, is trained again on all images.

    Fitted: `classes_ (C,)`, `lr_`, `weight_decay_`, `holdout_accuracy_`, `weight_ (D, C)`, `bias_ (C,)`.
    """

    def __init__(
        self,
        lrs: Sequence[float] = (1e-3, 1e-2, 1e-1),
        weight_decays: Sequence[float] = (0.0, 1e-4, 1e-3, 1e-2),
        *,
        epochs: int = 100,
        batch_size: int = 256,
        holdout: float = 0.1,
        seed: int = 0,
    ):
        self.lrs = lrs
        self.weight_decays = weight_decays
        self.epochs = epochs
        self.batch_size = batch_size
        self.holdout = holdout
        self.seed = seed

    def fit(self, features: Array, labels: Array) -> Linear:
        """Learn from features `(N, D)` and labels `(N,)`."""
        grid = list(product(self.lrs, self.weight_decays))
        if not grid or not 0 < self.holdout < 1:
            raise ValueError(
                f"Linear wants learning rates, weight decays and a hold-out between 0 and 1, "
                f"got {self.lrs}, {self.weight_decays} and {self.holdout}"
            )
        features = as_features(features)
        self.classes_, classes = as_classes(labels, features)
        self.standardise_ = Standardiser.of(features)
        x = self.standardise_(features)

        best = self._choose(x, classes, grid) if len(grid) > 1 else 0
        self.lr_, self.weight_decay_ = grid[best]
        weight, bias = self._train(x, classes, grid[best : best + 1])
        self.weight_, self.bias_ = weight[:, 0], bias[0]
        return self

    def decide(self, features: Array) -> Tensor:
        """Logits `(N, C)` of features `(N, D)`."""
        return self.standardise_(as_features(features, self.weight_.device)) @ self.weight_ + self.bias_

    def predict(self, features: Array) -> Tensor:
        """Labels `(N,)` of features `(N, D)`."""
        return self.classes_[self.decide(features).argmax(dim=1)]

    def score(self, features: Array, labels: Array) -> float:
        """Share of features `(N, D)` whose label is predicted."""
        return accuracy(self.predict(features), labels)

    def _choose(self, x: Tensor, classes: Tensor, grid: list[tuple[float, float]]) -> int:
        order = torch.from_numpy(stratified_order(classes.cpu().numpy(), self.seed)).to(x.device)
        held, rest = order.tensor_split([math.ceil(self.holdout * len(x))])
        weight, bias = self._train(x[rest], classes[rest], grid)
        logits = torch.einsum("nd,dgc->ngc", x[held], weight) + bias
        truth = classes[held][:, None].expand(-1, len(grid))
        accuracies = (logits.argmax(dim=2) == truth).double().mean(dim=0).tolist()
        losses = F.cross_entropy(logits.transpose(1, 2), truth, reduction="none").mean(dim=0).tolist()
        best = max(range(len(grid)), key=lambda head: (accuracies[head], -losses[head]))
        self.holdout_accuracy_ = accuracies[best]
        return best

    def _train(self, x: Tensor, classes: Tensor, grid: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
        lrs, decays = torch.tensor(grid, device=x.device).unbind(dim=1)
        generator = torch.Generator().manual_seed(self.seed)
        targets = F.one_hot(classes, len(self.classes_)).to(x.dtype)
        return train_heads(x, targets, lrs, decays, self.epochs, self.batch_size, generator)


@torch.no_grad()
def train_heads(
    x: Tensor,
    targets: Tensor,
    lrs: Tensor,
    decays: Tensor,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    betas: tuple[float, float] = (0.9, 0.999),
) -> tuple[Tensor, Tensor]:
    """Weights `(D, G, C)` and biases `(G, C)` of G softmax classifiers, each with its own rate and L2 penalty.

    x is `(N, D)`, targets one-hot `(N, C)`, lrs and decays `(G,)`; `generator` (CPU) shuffles each epoch. The
    gradient of the cross-entropy is written out, so that all heads share two matrix products a step.
    """
    x = F.pad(x, (0, 1), value=1.0)
    lrs, decays = lrs[:, None], decays[:, None].expand(x.shape[1], -1, 1).clone()
    decays[-1] = 0
    heads = x.new_zeros(x.shape[1], len(lrs), targets.shape[1])
    mean, square = torch.zeros_like(heads), torch.zeros_like(heads)
    batches = math.ceil(len(x) / batch_size)
    steps = epochs * batches
    for step in track(range(1, steps + 1), steps, "linear probe", unit="steps"):
        if step % batches == 1 or batches == 1:
            order = iter(torch.randperm(len(x), generator=generator).to(x.device).chunk(batches))
        rows = next(order)
        logits = (x[rows] @ heads.flatten(1)).unflatten(1, heads.shape[1:])
        residual = logits.softmax(dim=2).sub_(targets[rows][:, None]).div_(len(rows))
        gradient = (x[rows].T @ residual.flatten(1)).unflatten(1, heads.shape[1:]).addcmul_(heads, decays)
        mean.lerp_(gradient, 1 - betas[0])
        square.lerp_(gradient.square(), 1 - betas[1])
        scale = (square / (1 - betas[1] ** step)).sqrt_().add_(1e-8)
        fall = 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        heads -= fall / (1 - betas[0] ** step) * lrs * mean / scale
    return heads[:-1], heads[-1]
