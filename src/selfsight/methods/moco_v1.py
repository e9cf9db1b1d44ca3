"""MoCo, the first version."""

from __future__ import annotations

from collections.abc import Sequence

from selfsight.methods.base import Optimisation
from selfsight.methods.moco_v2 import MoCoV2
from selfsight.nets import Encoder
from selfsight.views import Augmentation


class MoCoV1(MoCoV2):
    """Contrast a linear query with a moving teacher's key of the other view and a queue of past keys.

    He, Fan, Wu, Xie, Girshick: Momentum Contrast for Unsupervised Visual Representation Learning
    (CVPR 2020), eq. 1-2 and algorithm 1.

    projector: widths of the head's layers; one, a linear head, in this version.
    queue: number of keys kept as negatives.
    temperature: of the softmax.
    momentum: the teacher's, constant.
    key_group: images whose keys share batch-norm statistics.

    Loss, queue and keys are those of `moco_v2`, which changed the head, the temperature and the
    views. The rate follows a cosine, where the paper divides it by ten after epochs 120 and 160.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.03, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0, grayscale=0.2, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (128,),
        queue: int = 65536,
        temperature: float = 0.07,
        momentum: float = 0.999,
        key_group: int = 32,
    ):
        super().__init__(
            encoder,
            projector=projector,
            queue=queue,
            temperature=temperature,
            momentum=momentum,
            key_group=key_group,
        )
