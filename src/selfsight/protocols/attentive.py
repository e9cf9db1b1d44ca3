"""A learned query over positions."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.data import Source
from selfsight.memory import free_memory
from selfsight.probes.features import Reader
from selfsight.probes.reading import Maps
from selfsight.protocols._attentive_head import AttentiveHead
from selfsight.protocols._training import fit, plain_groups, seeded
from selfsight.protocols.base import Answer, ClassTask, Protocol

log = logging.getLogger(__name__)

HOLD_OUT = 0.1
SHARE = 0.5  # of the free memory, for the tokens of training images


@dataclass(frozen=True)
class Attentive(Protocol):
    """Attentive probe: a learned query of each head attends to the frozen map's positions, a linear classifier follows.

    As of AIM (El-Nouby et al., ICML 2024): batch norm of the tokens, one cross-attention, no MLP. Fair to masked
    methods, whose patches hold what their mean does not. Tokens are computed once and kept in half precision; the rate
    is the best on a stratified tenth of the training images, and all are trained on.

    heads: of the attention, each with a query; the largest number up to this that divides the width.
    epochs: how often every training image is seen.
    batch_size: images a step.
    lrs: peak rates of AdamW to choose from.
    weight_decay: of AdamW.
    """

    wants_features: ClassVar[bool] = False

    heads: int = 12
    epochs: int = 30
    batch_size: int = 256
    lrs: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if self.heads < 1 or self.epochs < 1 or self.batch_size < 2 or not self.lrs or min(self.lrs) <= 0:
            raise ValueError(
                f"attentive wants a head, an epoch, two images a batch and rates above 0, not heads {self.heads}, "
                f"epochs {self.epochs}, batch_size {self.batch_size} and lrs {self.lrs}"
            )

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        for row, maps, reader in task.maps():
            train, test = task.sources(reader)
            tokens = tokens_of(maps, reader, train)
            lr = self.choose(task, tokens)
            probe = self.trained(task, tokens, task.train, lr, row)
            del tokens
            found: dict[int, Tensor] = {}
            for index, batch in reader.batches({"maps": maps}, test):
                with torch.no_grad():
                    scores = probe(batch["maps"].flatten(2).transpose(1, 2).cpu())
                found |= dict(zip(index.tolist(), scores, strict=True))
            assert len(found) == len(test), "images that cannot be read were left out before"
            scores = torch.stack([found[image] for image in range(len(test))])
            yield task.answer(row, scores.softmax(dim=1), lr=lr)

    def choose(self, task: ClassTask, tokens: Tensor) -> float:
        """The rate that is best on images that are held out of training."""
        if len(self.lrs) == 1:
            return self.lrs[0]
        held, rest = task.order(task.seed).tensor_split([max(1, math.ceil(HOLD_OUT * len(tokens)))])
        right = {}
        for lr in self.lrs:
            probe = self.trained(task, tokens[rest], task.train[rest], lr, f"rate {lr:g}")
            with torch.no_grad():
                scores = torch.cat([probe(part.float()) for part in tokens[held].split(self.batch_size)])
            loss = float(F.cross_entropy(scores, task.train[held]))
            right[lr] = (float((scores.argmax(dim=1) == task.train[held]).double().mean()), -loss)
        return max(right, key=lambda lr: right[lr])

    def trained(self, task: ClassTask, tokens: Tensor, truth: Tensor, lr: float, what: str) -> nn.Module:
        """The probe after the last epoch, in evaluation mode."""
        size = min(self.batch_size, len(tokens))
        each = len(tokens) // size
        with seeded(task.seed):
            probe = AttentiveHead(tokens.shape[2], self.heads, len(task.names))
            generator = torch.Generator().manual_seed(task.seed)

            def batches() -> Iterator[Tensor]:
                for _ in range(self.epochs):
                    yield from torch.randperm(len(tokens), generator=generator)[: each * size].split(size)

            return fit(
                probe,
                plain_groups(probe, weight_decay=self.weight_decay),
                batches(),
                self.epochs * each,
                lambda rows: F.cross_entropy(probe(tokens[rows].float()), truth[rows]),
                lr=lr,
                warmup=0.1,
                what=f"attentive, {what}",
            )


def tokens_of(maps: Maps, reader: Reader, source: Source) -> Tensor:
    """Positions of the map as tokens `(N, T, D)` of all images, in half precision.

    Raises:
        ValueError: where memory will not hold them.
    """
    shape = reader.shapes({"maps": maps})["maps"]
    count, width = math.prod(shape[1:]), shape[0]
    fit_in = int(SHARE * free_memory() / (2 * count * width))
    if fit_in < len(source):
        raise ValueError(
            f"tokens of {len(source):,} images, {count} of {width} numbers each, do not fit into memory: set limit to "
            f"{fit_in} at most"
        )
    tokens = torch.empty(len(source), count, width, dtype=torch.float16)
    for index, found in reader.batches({"maps": maps}, source):
        tokens[index] = found["maps"].flatten(2).transpose(1, 2).to("cpu", torch.float16)
    return tokens
