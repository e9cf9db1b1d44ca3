"""The same probe on images that were harmed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsight.metrics import PerImage
from selfsight.nets import EncoderSpec
from selfsight.probes import Linear as Probe
from selfsight.protocols._corruptions import KINDS, STRENGTHS, Corrupted
from selfsight.protocols._tasks import CHANCE
from selfsight.protocols.base import Answer, ClassTask, Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Robustness(Protocol):
    """How often a linear probe of clean images is right under blur, noise, JPEG, brightness and contrast.

    Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (ICLR 2019),
    with five of its corruptions in its five strengths, on the view that the encoder sees. `corrupted` is the mean over
    all of them, `blur` over its strengths, `blur 3` one; `clean` stands beside them. The probe is that of `linear`.

    kinds: some of blur, noise, jpeg, brightness, contrast.
    strengths: some of 1 to 5.
    epochs: how often every training image is seen.
    batch_size: images a step.
    lrs: learning rates to choose from.
    weight_decays: L2 penalties to choose from.
    """

    kinds: tuple[str, ...] = KINDS
    strengths: tuple[int, ...] = STRENGTHS
    epochs: int = 100
    batch_size: int = 256
    lrs: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    weight_decays: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2)

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"robustness.kinds are some of {', '.join(KINDS)}, not {', '.join(map(str, self.kinds))}")
        if not self.strengths or not set(self.strengths) <= set(STRENGTHS):
            raise ValueError(f"robustness.strengths are some of 1 to 5, not {', '.join(map(str, self.strengths))}")

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        kinds: list[str] = []
        for (row, function, reader), (_, train, clean) in zip(task.readings(), task.features(), strict=True):
            _, test = task.sources(reader)
            kinds = self.kinds_for(reader.spec)
            probe = Probe(
                self.lrs, self.weight_decays, epochs=self.epochs, batch_size=self.batch_size, seed=task.seed
            ).fit(train, task.train)
            each = {
                f"{kind} {strength}": Corrupted(function, reader.spec, kind, strength, task.seed).eval()
                for kind in kinds
                for strength in self.strengths
            }
            found, index = reader(each, test)
            assert len(index) == len(test), "images that cannot be read were left out before"
            right = {name: probe.predict(features) == task.test for name, features in found.items()}
            right = {"clean": probe.predict(clean) == task.test, **right}
            settings = {"lr": probe.lr_, "weight_decay": probe.weight_decay_}
            yield Answer(row, self.outcome(right, kinds), len(task.train), settings=settings)
        guess = task.test == torch.bincount(task.train).argmax()
        names = ["clean", *(f"{kind} {strength}" for kind in kinds for strength in self.strengths)]
        yield Answer(CHANCE, self.outcome(dict.fromkeys(names, guess), kinds), len(task.train))

    def kinds_for(self, spec: EncoderSpec) -> list[str]:
        """What images of this kind can suffer."""
        if spec.dims == 2 and spec.channels in (1, 3):
            return list(self.kinds)
        if "jpeg" in self.kinds:
            log.warning("jpeg is for images of one or three channels, and left out")
        kinds = [kind for kind in self.kinds if kind != "jpeg"]
        if not kinds:
            raise ValueError("robustness.kinds is jpeg, which is for 2-D images of one or three channels: add others")
        return kinds

    def outcome(self, right: dict[str, Tensor], kinds: list[str]) -> PerImage:
        """Means over all, over the strengths of each kind, and each, of whether each image is told `(N,)`."""
        hits = {name: values.double() for name, values in right.items()}
        by_kind = {kind: torch.stack([hits[f"{kind} {one}"] for one in self.strengths]).mean(dim=0) for kind in kinds}
        every = torch.stack(list(by_kind.values())).mean(dim=0)
        return PerImage(**{"corrupted": every, "clean": hits.pop("clean"), **by_kind, **hits})
