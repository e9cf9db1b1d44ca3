"""Joint embedding from parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from selfsight import losses
from selfsight.methods._bank import MemoryBank
from selfsight.methods._queue import Queue
from selfsight.methods.base import Method, Optimisation, Plan, Teacher, Wants, cross, mean, pairs, unit
from selfsight.nets import Encoder, cosine_momentum, mlp
from selfsight.views import Augmentation, Batch

Loss = Literal["info_nce", "nt_xent", "cosine", "vicreg", "barlow_twins"]


class JointEmbedding(Method):
    """Compare views by parts of your choice: a loss, predictor, teacher, queue, memory, neighbours, labels.

    Balestriero et al.: A Cookbook of Self-Supervised Learning (2023), section 2. The methods named after
    their papers are points of this space, to start from; this one is for the points without a paper.

    loss: info_nce (against the targets of the batch, or the queue), nt_xent (against views of both kinds),
        cosine, vicreg or barlow_twins.
    projector, predictor: widths of the heads' layers, batch norm after all but the last; () for no predictor.
    momentum: of a teacher that makes the targets, at the start; it grows to 1. None for no teacher.
    bank: momentum of a memory of every image, whose row is then the target of all its views. None for no memory.
    queue: past targets that are the negatives of info_nce, in place of those of the batch; 0 for none.
    support: past targets among which each target's nearest stands in for it, as in NNCLR; 0 for none.
    neighbours: how many of them, in turn, as in MeanShift.
    positives: views of the same image, or all that share its label (info_nce and nt_xent).
    temperature: of the softmax.

    Each view is compared with the targets of the first two views, but its own. Targets carry a gradient
    where nothing stands between them and the encoder: no predictor, teacher or support. A teacher's batch
    norm has statistics of its own, each view those of its own.
    """

    optimisation = Optimisation(optimizer="lars", lr=0.3, weight_decay=1e-6)
    augmentation = Augmentation(
        scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2, blur=(1.0, 0.1), solarize=(0.0, 0.2)
    )

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: Loss = "info_nce",
        projector: Sequence[int] = (2048, 256),
        predictor: Sequence[int] = (),
        momentum: float | None = None,
        bank: float | None = None,
        queue: int = 0,
        support: int = 0,
        neighbours: int = 1,
        positives: Literal["views", "labels"] = "views",
        temperature: float = 0.2,
    ):
        super().__init__(encoder)
        self.loss, self.momentum, self.neighbours, self.temperature = loss, momentum, neighbours, temperature
        self.wants = Wants(views=2, or_more=True, label=positives == "labels")
        self.projector = mlp(encoder.width, *projector)
        self.predictor = mlp(projector[-1], *predictor) if predictor else nn.Identity()
        self.teacher = None if momentum is None else Teacher(self.encoder, self.projector)
        self.bank = None if bank is None else MemoryBank(projector[-1], bank)
        self.queue = Queue(queue, projector[-1]) if queue else None
        self.support = Queue(support, projector[-1]) if support else None
        self.gradient_in_targets = not (predictor or support or momentum is not None or bank is not None)
        self._check_parts(predictor, projector[-1])

    def idle(self) -> dict[str, str]:
        """The softmax's temperature where the loss has no softmax."""
        return {} if self.loss in ("info_nce", "nt_xent") else {"temperature": f"with loss={self.loss!r}"}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views or more: the mean over each view's prediction and each other view's target."""
        z = [self.embed(view) for view in batch.views]
        if self.wants.label and self.gradient_in_targets and self.loss == "nt_xent":
            return {"loss": losses.supcon(z, batch.metadata["label"], self.temperature)}
        if self.gradient_in_targets and self.loss != "info_nce":  # alike in both, so that each pair counts once
            return {"loss": mean([self.compare(za, zb, batch) for za, zb in pairs(z)])}
        p = list(map(self.predictor, z))
        comparisons = [
            self.compare(prediction, neighbour, batch)
            for prediction, target in self.predictions_and_targets(p, z, batch)
            for neighbour in target
        ]
        return {"loss": mean(comparisons)}

    def predictions_and_targets(
        self, p: list[Tensor], z: list[Tensor], batch: Batch
    ) -> list[tuple[Tensor, list[Tensor]]]:
        """Each prediction with what it shall predict: the targets of the first two views, or the memory."""
        if self.bank is not None:
            self.later(self.remember, batch.index, z[0])
            memory = self.stand_ins(self.bank.of(batch.index))
            return [(prediction, memory) for prediction in p]
        targets = z[:2] if self.teacher is None else list(map(self.teacher, batch.views[:2]))
        if self.gradient_in_targets:
            return cross(p, [[target] for target in targets])
        targets = [target.detach() for target in targets]
        self.later(self.remember, batch.index, targets[0])
        return cross(p, list(map(self.stand_ins, targets)))

    def stand_ins(self, target: Tensor) -> list[Tensor]:
        """The target itself, or its nearest in the support."""
        if self.support is None:
            return [target]
        return list(self.support.nearest(unit(target), self.neighbours).unbind(1))

    def compare(self, prediction: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """The loss of one prediction and one target `(B, D)`."""
        match self.loss:
            case "info_nce" if self.queue is not None:
                return losses.info_nce(prediction, target, self.queue.rows, self.temperature)
            case "info_nce":
                labels = batch.metadata["label"] if self.wants.label else None
                sides = (prediction, target) if self.support is None else (target, prediction)  # as in NNCLR
                return losses.cross_view(*sides, self.temperature, labels)
            case "nt_xent" if self.wants.label:
                return losses.supcon([prediction, target], batch.metadata["label"], self.temperature)
            case "nt_xent":
                return losses.nt_xent(prediction, target, self.temperature)
            case "cosine":
                return losses.negative_cosine(prediction, target)
            case "barlow_twins":
                return losses.barlow_twins(prediction, target)
            case _:
                terms = losses.vicreg(prediction, target)
                return 25 * terms["invariance"] + 25 * terms["variance"] + terms["covariance"]

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z` of the student."""
        return self.projector(self.encoder(view))

    def prepare(self, plan: Plan) -> None:
        """Refuse memories that are shorter than a batch."""
        super().prepare(plan)
        if self.bank is not None:
            self.bank.allocate(plan.samples)
        for memory in (self.queue, self.support):
            if memory is not None:
                memory.check(samples=plan.samples, batch=plan.batch)

    def remember(self, index: Tensor, target: Tensor) -> None:
        """Keep the first view's targets `(B, D)`, which serve later batches only."""
        target = unit(target)
        if self.bank is not None:
            self.bank.update(index, target)
        for memory in (self.queue, self.support):
            if memory is not None:
                memory.push(target)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student, by the momentum of the step that was done, as in BYOL."""
        if self.teacher is not None and self.momentum is not None:
            self.teacher.follow(cosine_momentum(step - 1, self.plan.steps, self.momentum))

    def _check_parts(self, predictor: Sequence[int], width: int) -> None:
        """Refuse parts that do not belong together, saying which do."""

        def refuse(parts: str, fix: str) -> Any:
            raise ValueError(f"joint_embedding cannot have {parts}: {fix}")

        if self.loss not in get_args(Loss):
            refuse(f"loss={self.loss!r}", f"there are {', '.join(get_args(Loss))}")
        if predictor and predictor[-1] != width:
            refuse(
                f"a predictor that ends in {predictor[-1]} for a projector that ends in {width}", "give both one width"
            )
        if self.loss == "cosine" and self.gradient_in_targets:
            refuse("loss='cosine' alone, which collapses", "add a predictor")
        if self.bank is not None and self.teacher is not None:
            refuse("both a bank and a teacher", "each makes the targets; leave one out")
        if self.queue is not None and self.loss != "info_nce":
            refuse(f"a queue with loss={self.loss!r}", "its keys are negatives of info_nce")
        if self.queue is not None and self.gradient_in_targets:
            refuse("a queue of keys that carry gradients", "give it a teacher with momentum=.99, or a predictor")
        if self.wants.label and (self.loss not in ("info_nce", "nt_xent") or self.queue is not None):
            refuse("positives='labels' with this loss or a queue", "use loss='info_nce' or 'nt_xent' without a queue")
        if self.neighbours > 1 and self.support is None:
            refuse(f"neighbours={self.neighbours} without a support", "give support=4096 or the like")
