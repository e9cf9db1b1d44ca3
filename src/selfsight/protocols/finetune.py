"""Training on, with labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from timm.data.mixup import Mixup
from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.data import Canvas, Source, subset
from selfsight.nets import Encoder, build_encoder
from selfsight.probes.features import Reader
from selfsight.protocols._classifier import Classifier
from selfsight.protocols._training import crops, fit, seeded, shuffled
from selfsight.protocols.base import Answer, ClassTask, NumberTask, Protocol, Trial
from selfsight.views.batch import image_layout

HOLD_OUT = 0.1


@dataclass(frozen=True)
class Finetune(Protocol):
    """The whole encoder trained on with labels, beside the same net trained from scratch at equal cost.

    The recipe of BEiT and MAE (Bao et al., ICLR 2022; He et al., CVPR 2022, appendix A.1): AdamW, rates that decay from
    layer to layer towards the input, a cosine, mixup, cutmix, label smoothing, drop path. Where several rates are
    given, the one that is best on a tenth of the training images is taken, and all are trained on. The last epoch
    counts.

    epochs: how often every training image is seen.
    batch_size: images a step.
    lrs: peak rates to choose from, as they stand.
    layer_decay: of the rate from a layer to the one below, 1 for none.
    weight_decay: of AdamW.
    warmup: the share of steps in which the rate rises.
    shares: of the training images, stratified, a figure for each.
    of: a column of numbers, to be regressed, in place of the class.
    scale: smallest share of an image's area that a crop has.
    flip: how often images are mirrored.
    mixup, cutmix: alphas of both, 0 for neither.
    smoothing: of labels.
    drop_path: rate of the encoder's drop path.
    ema: decay of an average of the weights, which is judged in their place; 0 for none.
    """

    wants_features: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    epochs: int = 30
    batch_size: int = 128
    lrs: tuple[float, ...] = (3e-4, 1e-3)
    layer_decay: float = 0.75
    weight_decay: float = 0.05
    warmup: float = 0.1
    shares: tuple[float, ...] = (1.0,)
    of: str = ""
    scale: float = 0.3
    flip: float = 0.5
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.1
    drop_path: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not self.lrs or min(self.lrs) <= 0:
            raise ValueError(
                f"finetune wants at least one epoch, two images a batch and rates above 0, not epochs {self.epochs}, "
                f"batch_size {self.batch_size} and lrs {self.lrs}"
            )
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"finetune.shares are above 0 and at most 1, not {self.shares}")
        if self.of and (self.mixup or self.cutmix):
            raise ValueError("mixup and cutmix mix classes, and finetune.of is a column of numbers: leave them out")

    def task(self, trial: Trial) -> ClassTask | NumberTask:
        """The class of each image, or a number."""
        return trial.numbers(self.of) if self.of else trial.classes()

    def __call__(self, task: ClassTask | NumberTask) -> Iterator[Answer]:
        for share in self.shares:
            part = task if share == 1 else task.only(self.some(task, share))
            variant = {} if share == 1 and len(self.shares) == 1 else {"share": share}
            for row, encoder, reader in part.encoders():
                lr = self.choose(part, encoder, reader)
                scores = self.trained_scores(part, encoder, reader, *part.sources(reader), part.train, lr, row)
                if isinstance(part, NumberTask):
                    yield part.answer(row, scores.squeeze(1), variant=variant, lr=lr)
                else:
                    yield part.answer(row, scores.softmax(dim=1), variant=variant, lr=lr)

    def some(self, task: Any, share: float) -> Tensor:
        """Training rows for a share of the labels."""
        count = max(2, round(share * len(task.train)))
        if isinstance(task, ClassTask):
            return task.order(task.seed)[:count].sort().values
        return shuffled(len(task.train), task.seed)[:count].sort().values

    def choose(self, task: Any, encoder: Encoder, reader: Reader) -> float:
        """The rate that is best on images that are held out of training."""
        if len(self.lrs) == 1:
            return self.lrs[0]
        order = self.some(task, 1.0)[
            torch.randperm(len(task.train), generator=torch.Generator().manual_seed(task.seed))
        ]
        held, rest = order.tensor_split([max(1, math.ceil(HOLD_OUT * len(order)))])
        train, _ = task.sources(reader)
        sides = subset(train, rest.numpy()), subset(train, held.numpy())
        losses = {}
        for lr in self.lrs:
            scores = self.trained_scores(task, encoder, reader, *sides, task.train[rest], lr, f"rate {lr:g}")
            truth = task.train[held]
            wrong = (scores.argmax(1) != truth) if isinstance(task, ClassTask) else (scores[:, 0] - truth).square()
            losses[lr] = float(wrong.double().mean())
        return min(losses, key=lambda lr: losses[lr])

    def trained_scores(
        self,
        task: Any,
        encoder: Encoder,
        reader: Reader,
        train: Source,
        test: Source,
        truth: Tensor,
        lr: float,
        what: str,
    ) -> Tensor:
        """Logits or numbers `(M, C)` of test images, by a copy of the encoder that was trained on the others."""
        with seeded(task.seed):
            numbers = isinstance(task, NumberTask)
            centre, spread = (truth.mean(), truth.std().clamp_min(1e-12)) if numbers else (0.0, 1.0)
            targets = ((truth - centre) / spread).float() if numbers else truth
            model = Classifier(self.with_drop_path(encoder), 1 if numbers else len(task.names)).to(reader.device)
            judged = self.train(model, reader, train, targets, lr, what)
        features, index = reader({"scores": judged}, test)
        assert len(index) == len(test), "images that cannot be read were left out before"
        return features["scores"] * spread + centre

    def train(
        self, model: Classifier, reader: Reader, source: Source, truth: Tensor, lr: float, what: str
    ) -> nn.Module:
        """The model after the last epoch, or the average of its weights; in evaluation mode."""
        device = reader.device
        lane, views = crops(reader, source, self.batch_size, self.scale, self.flip)
        mix = self.mixer(model.head.out_features)
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**31)

        def loss(batch: list[Canvas]) -> Tensor:
            seen = views([canvas.to(device, non_blocking=True) for canvas in batch], generator)
            x, y = image_layout(seen.views[0]), truth.to(device)[seen.index]
            if mix is not None and len(x) % 2 == 0:
                x, y = mix(x, y)
            return self.loss(model(x).float(), y)

        return fit(
            model,
            model.groups(self.weight_decay, self.layer_decay),
            (batch for _ in range(self.epochs) for batch in lane),
            self.epochs * len(lane),
            loss,
            lr=lr,
            warmup=self.warmup,
            ema=self.ema,
            what=f"finetune, {what}",
        )

    def loss(self, scores: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy, with labels or with shares of labels, or the squared error."""
        if scores.shape[1] == 1:
            return F.mse_loss(scores[:, 0], truth)
        return F.cross_entropy(scores, truth, label_smoothing=0.0 if truth.is_floating_point() else self.smoothing)

    def mixer(self, classes: int) -> Any:
        """timm's mixup and cutmix, which smooth labels themselves; None for neither."""
        if not (self.mixup or self.cutmix):
            return None
        return Mixup(self.mixup, self.cutmix, label_smoothing=self.smoothing, num_classes=classes)

    def with_drop_path(self, encoder: Encoder) -> Encoder:
        """A copy of the encoder, with drop path where it is asked for."""
        if not self.drop_path:
            return copy.deepcopy(encoder)
        spec = encoder.spec
        if spec.custom:
            raise ValueError("finetune.drop_path is an option of timm's nets, and this encoder is a module of your own")
        options = {**spec.options, "drop_path_rate": self.drop_path}
        twin = build_encoder(spec.name, image_size=spec.image_size, channels=spec.channels, stem=spec.stem, **options)
        twin.load_state_dict(encoder.state_dict())
        twin.spec = replace(spec, options=options)
        return twin
