"""DINO."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from selfsight import distributed, losses
from selfsight.methods.base import Method, Optimisation, Teacher, teacher_entropy, together
from selfsight.nets import DINOHead, Encoder, cosine_momentum, draw_as_dino
from selfsight.views import Augmentation, Batch, Size, ViewSet, multi_crop

DINO_LOCAL_BLUR = 0.5


class DINO(Method):
    """Match a moving teacher's sharpened, centred scores of large crops from all other crops.

    Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin: Emerging Properties in
    Self-Supervised Vision Transformers (ICCV 2021), eq. 1-4 and algorithm 1.

    out, hidden, bottleneck: widths of the head. norm_last_layer: hold its last rows at length one.
    batch_norm: in the head, for convolutional encoders.
    temperature: of the student's softmax.
    teacher_temperature: of the teacher's softmax, from the first number to the second.
    warmup_epochs: how long that rises, linearly.
    centre_momentum: of the mean of the teacher's scores.
    momentum: the teacher's at the start; it grows to 1 along half a cosine. .9995 suits 256 images.
    freeze_epochs: how long the head's last layer keeps still.
    local_blur: probability, for the small crops, which are never solarised.

    The exported encoder is the teacher's, as in the paper. Centre and freezing follow micro-batches
    and steps; drop path acts in the student only. For a ResNet the paper takes SGD at .03 and no
    rising weight decay.
    """

    optimisation = Optimisation(
        optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, final_lr=2e-3, clip=3.0, clip_by="tensor"
    )
    augmentation = Augmentation(
        scale=(0.14, 1.0),  # theirs without small crops
        jitter=(0.4, 0.4, 0.2, 0.1),
        jitter_p=0.8,
        grayscale=0.2,
        blur=(1.0, 0.1),
        solarize=(0.0, 0.2),
        crops=(2, 8),
        global_scale=(0.4, 1.0),
        local_scale=(0.05, 0.4),
    )
    taught = 2
    centre: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        out: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        norm_last_layer: bool = True,
        batch_norm: bool = False,
        temperature: float = 0.1,
        teacher_temperature: tuple[float, float] = (0.04, 0.07),
        warmup_epochs: float = 30,
        centre_momentum: float = 0.9,
        momentum: float = 0.996,
        freeze_epochs: float = 1,
        local_blur: float = DINO_LOCAL_BLUR,
    ):
        super().__init__(encoder)
        draw_as_dino(encoder)
        self.head = DINOHead(
            encoder.width,
            out,
            hidden=hidden,
            bottleneck=bottleneck,
            norm_last_layer=norm_last_layer,
            batch_norm=batch_norm,
        )
        self.teacher = Teacher(self.encoder, self.head)
        self.register_buffer("centre", torch.zeros(out))
        self.temperature, self.teacher_temperature, self.warmup_epochs = temperature, teacher_temperature, warmup_epochs
        self.centre_momentum, self.momentum, self.freeze_epochs = centre_momentum, momentum, freeze_epochs
        self.local_blur = local_blur

    def idle(self) -> dict[str, str]:
        """How long a temperature rises that stays the same."""
        first, last = self.teacher_temperature
        return {"warmup_epochs": "with one teacher_temperature from first to last"} if first == last else {}

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Large crops, of which the teacher sees two, and small ones."""
        large, many = augmentation.crops
        if not many and self.local_blur != DINO_LOCAL_BLUR:
            raise ValueError(
                f"local_blur is {self.local_blur}, of small crops, and crops {augmentation.crops} has none: "
                f"leave it out, or give crops=(2, 8)"
            )
        small = replace(augmentation, blur=self.local_blur, solarize=0.0)
        return ViewSet(multi_crop(size, augmentation).views[:large] + multi_crop(size, small).views[large:])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two large views and any number of others, and the entropy of the teacher."""
        taught = together(self.teacher, batch.views[: self.taught])
        student = together(self.head, together(self.encoder, batch.views))
        loss = losses.dino(student, taught, self.centre, self.temperature, self.sharpness)
        self.later(self.move_centre, torch.cat(taught).mean(0, dtype=self.centre.dtype))
        sharpened = ((taught[0].float() - self.centre) / self.sharpness).softmax(1)
        return {"loss": loss, **teacher_entropy(sharpened)}

    def embed(self, view: Tensor) -> Tensor:
        """The bottleneck of the teacher's head, before normalisation."""
        encoder, head = self.teacher_parts
        return head.mlp(encoder(view))

    @property
    def exported(self) -> Encoder:
        """The teacher's encoder."""
        return self.teacher_parts[0]

    @property
    def teacher_parts(self) -> tuple[Encoder, DINOHead]:
        """The teacher's encoder and head."""
        encoder, head = self.teacher.module.children()
        assert isinstance(encoder, Encoder) and isinstance(head, DINOHead)
        return encoder, head

    @property
    def sharpness(self) -> float:
        """The teacher's temperature at this step."""
        first, last = self.teacher_temperature
        return first + (last - first) * (min(self.epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0)

    def move_centre(self, mean_score: Tensor) -> None:
        """Towards the teacher's mean score `(K,)` of a batch on all ranks, after its use."""
        self.centre.lerp_(distributed.reduce_mean(mean_score), 1 - self.centre_momentum)

    def after_backward(self) -> None:
        """Hold the last layer still at first."""
        if self.epoch < self.freeze_epochs:
            for parameter in self.head.last.parameters():
                parameter.grad = None

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student, after its step, by the momentum of that step, counted from 0."""
        self.teacher.follow(cosine_momentum(step - 1, self.plan.steps, self.momentum))
