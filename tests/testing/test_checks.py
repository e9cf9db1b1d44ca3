"""Each check of the battery fails a method that is broken in its way, and says why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conformance.hooked import Hooked
from selfsight import testing
from selfsight.methods import BYOL, MoCoV2, SimCLR
from selfsight.methods.base import Method, Teacher, Wants, split_by_decay
from selfsight.nets import Encoder, mlp
from selfsight.testing import Case, Learn
from selfsight.views import Augmentation, Batch, ViewSet, two_views

SMALL = Case({"projector": (64, 32)})
CLUSTERING = Case(own_views=True, state=("bank", "cluster"))


class Collapsing(Method):
    """Pulls two views together and nothing apart."""

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, 64, 32, norm=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        za, zb = map(self.embed, batch.views[:2])
        return {"loss": -torch.cosine_similarity(za, zb).mean()}

    def embed(self, view: Tensor) -> Tensor:
        return self.projector(self.encoder(view))


def test_a_collapse_is_noticed_though_its_loss_falls():
    with pytest.raises(AssertionError, match=r"collapsed|progress"):
        testing.check_learns(Collapsing, Case())
    method = Case().build(Collapsing)
    testing.train(method, testing.small_batches(method), steps=40)
    assert method(testing.small_batches(method)[0])["loss"] < -0.9


class Perfect(SimCLR):
    """Thinks that it has nothing to learn."""

    def progress(self, batch: Batch) -> Tensor:
        return torch.ones(())


def test_a_progress_that_measures_nothing_is_noticed():
    with pytest.raises(AssertionError, match=r"progress is 1\.000 before any training"):
        testing.check_learns(Perfect, Case(SMALL.options, learns=Learn(steps=1)))


def test_a_recipe_of_its_own_is_followed():
    with pytest.raises(AssertionError, match=r"less than 99% of the way to 1: give the method a recipe"):
        testing.check_learns("simclr", Case(SMALL.options, learns=Learn(steps=1, least=0.99, spread=0.0)))
    with pytest.raises(AssertionError, match=r"spread \d\.\d+, not above 5"):
        testing.check_learns("simclr", Case(SMALL.options, learns=Learn(steps=1, spread=5.0)))
    losses = testing.check_learns("simclr", Case(learns=Learn(steps=12, least=0.0, options=SMALL.options)))
    assert len(losses) == 12


class Loose(SimCLR):
    """Has a layer that nothing uses."""

    def __init__(self, encoder: Encoder, **options: Any):
        super().__init__(encoder, **options)
        self.unused = nn.Linear(2, 2)


class Learning(BYOL):
    """Trains its teacher."""

    def __init__(self, encoder: Encoder, **options: Any):
        super().__init__(encoder, **options)
        self.teacher.requires_grad_(True)


def test_gradients_that_reach_too_little_or_too_much_are_named():
    with pytest.raises(AssertionError, match=r"no gradient reaches unused\.weight"):
        testing.check_gradients(Loose, SMALL)
    with pytest.raises(AssertionError, match=r"teacher\.\S+ belongs to the teacher"):
        testing.check_gradients(Learning, Case({"projector": (64, 32), "predictor": (64, 32)}))


class Twice(SimCLR):
    """Gives the optimiser its encoder twice."""

    def param_groups(self) -> list[dict[str, Any]]:
        return split_by_decay(self) + split_by_decay(self.encoder)


class HeadAlone(SimCLR):
    """Does not give it to it at all."""

    def param_groups(self) -> list[dict[str, Any]]:
        return split_by_decay(self.projector)


class Strange(SimCLR):
    """Gives it what is not trained."""

    def param_groups(self) -> list[dict[str, Any]]:
        return [*split_by_decay(self), {"params": [nn.Parameter(torch.zeros(1))]}]


@pytest.mark.parametrize(
    ("method", "message"),
    [(Twice, r"twice: encoder"), (HeadAlone, r"leaves out .*encoder"), (Strange, "not trained: a stranger")],
)
def test_what_the_optimiser_gets_wrongly_is_named(method, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_optimiser(method, SMALL)


class Halved(SimCLR):
    """Answers a loss in half precision."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.embed(batch.views[0]).square().mean().bfloat16()}


def test_a_loss_in_half_precision_is_noticed():
    with pytest.raises(AssertionError, match=r"the loss is torch\.bfloat16 under autocast: use full_precision"):
        testing.check_half_precision(Halved, SMALL)


class Forgetful(SimCLR):
    """Its loss depends on a number that no state holds."""

    seen = 0.0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.seen += 1.0
        return {"loss": super().forward(batch)["loss"] + self.seen}


class Unseeded(SimCLR):
    """Goes on where the last one stopped."""

    built = 0.0

    def __init__(self, encoder: Encoder, **options: Any):
        super().__init__(encoder, **options)
        type(self).built += 1.0
        self.own = type(self).built

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": super().forward(batch)["loss"] + self.own}


def test_what_the_state_lacks_is_noticed():
    with pytest.raises(AssertionError, match=r"once the state is loaded: register as buffers what is kept"):
        testing.check_state(Forgetful, SMALL)
    with pytest.raises(AssertionError, match=r"the same seed gives the losses"):
        testing.check_same_seed(Unseeded, SMALL)


class Drawing(SimCLR):
    """Draws noise from torch's generator in `forward`."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        z = [self.embed(view) for view in batch.views[:2]]
        return {"loss": super().forward(batch)["loss"] + (z[0].square() * torch.rand(32)).mean()}


class DrawingLater(SimCLR):
    """Draws after the step, into its state."""

    def __init__(self, encoder: Encoder, **options: Any):
        super().__init__(encoder, **options)
        self.register_buffer("noise", torch.zeros(3))

    def after_step(self, step: int) -> None:
        self.noise = torch.rand(3)


def test_what_is_drawn_from_torchs_generator_is_noticed():
    with pytest.raises(AssertionError, match=r"torch's seed makes the loss of one batch \S+ or \S+: draw from batch"):
        testing.check_randomness(Drawing, SMALL)
    with pytest.raises(AssertionError, match=r"torch's seed changes the state after a step, noise: draw from batch"):
        testing.check_randomness(DrawingLater, SMALL)
    testing.check_same_seed(Drawing, SMALL)


class Frozen(MoCoV2):
    """Never fills its queue."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        outcome = super().forward(batch)
        self._waiting.clear()
        return outcome


class Filling(MoCoV2):
    """Fills its queue with one embedding."""

    def end_backward(self) -> None:
        super().end_backward()
        self.queue.rows.copy_(self.queue.rows[:1].clone())


def test_a_memory_that_remembers_nothing_is_noticed():
    case = Case({"projector": (64, 32), "queue": 96, "key_group": 6}, state=("queue",))
    testing.check_memory("moco_v2", case)
    with pytest.raises(AssertionError, match="the state 'queue' is after three steps what it was"):
        testing.check_memory(Frozen, case)
    with pytest.raises(AssertionError, match=r"100% of the rows of 'queue\.rows' are the same"):
        testing.check_memory(Filling, case)
    with pytest.raises(AssertionError, match=r"the case names the state 'bank', and the method has .*queue\.rows"):
        testing.check_memory("moco_v2", Case(case.options, state=("bank",)))


class NeverClustering(Hooked):
    """Leaves all images in cluster 0, where they were at first."""

    def before_epoch(self, encode) -> None:
        self.calls["before_epoch"] += 1


class OneCluster(Hooked):
    """Assigns all images to cluster 0."""

    def before_epoch(self, encode) -> None:
        super().before_epoch(encode)
        self.cluster = torch.zeros_like(self.cluster)


class HiddenCluster(OneCluster):
    """Does so outside its state, where only the loss knows of it."""

    def __init__(self, encoder: Encoder, *, clusters: int = 4):
        super().__init__(encoder, clusters=clusters)
        del self.cluster
        self.cluster = torch.zeros(0, dtype=torch.int64)


class Misled(Hooked):
    """Divides by the length of what is zero."""

    def before_epoch(self, encode) -> None:
        super().before_epoch(lambda function: (encode(function)[0] / encode(function)[0].norm(dim=1)[:, None], None))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (NeverClustering, "before_epoch changes no buffer, though the encoder has changed"),
        (OneCluster, "100% of the rows of 'cluster' are the same.*are all images assigned to one cluster"),
        (HiddenCluster, "the loss is the same whichever image has which cluster"),
        (Misled, "an image that cannot be read makes bank infinite: leave out what is not known"),
    ],
)
def test_a_method_that_never_clusters_fails_and_is_told_why(method, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_clusters(method, Case())
    testing.check_clusters(Hooked, CLUSTERING)


def test_a_training_calls_every_hook_as_the_engine_does():
    method = CLUSTERING.build(Hooked)
    calls = dict(method.calls)
    assert calls == {"prepare": 1, "before_epoch": 1, "after_backward": 0, "after_step": 0}
    testing.train(method, testing.small_batches(method), steps=20)
    assert {name: method.calls[name] - calls[name] for name in calls} == {
        "prepare": 1,
        "before_epoch": 4,
        "after_backward": 20,
        "after_step": 20,
    }
    assert method.last_step == method.step == 20 and method.plan.epochs == 4
    assert len(method.bank) == method.plan.samples == len(method.plan.metadata["label"])


class Small(SimCLR):
    """Says that it takes one image, and does not."""

    wants = Wants(views=2, or_more=True, smallest_batch=1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.encoder(batch.views[0]).var(0, correction=0).mean().log()}


class Careless(SimCLR):
    """Checks nothing, and reads a label that need not be there."""

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return nn.Module.__call__(self, batch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        z = self.encoder(batch.views[0])
        return {"loss": z.mean() + batch.metadata.get("label", torch.tensor(torch.nan)).float().mean()}


class Pair(SimCLR):
    """Two views, whatever is asked for."""

    def views(self, size: int, augmentation: Augmentation) -> ViewSet:
        return two_views(size, augmentation)


@pytest.mark.parametrize(
    ("check", "method", "message"),
    [
        (testing.check_batch_of_one, Small, "the loss of one image is not finite"),
        (testing.check_batch_of_one, Careless, "a batch of one: no ValueError says what is wanted"),
        (testing.check_number_of_views, Careless, "views: no ValueError says what is wanted"),
        (testing.check_missing_metadata, Careless, "without metadata the loss is not finite"),
        (testing.check_small_crops, Pair, r"small crops do not join its views: .* Case\(own_views=True\)"),
    ],
)
def test_a_batch_that_is_not_refused_or_not_taken_is_named(check, method, message):
    with pytest.raises(AssertionError, match=message):
        check(method, SMALL)


def test_a_teacher_is_no_student():
    assert isinstance(Case({"projector": (64, 32), "predictor": (64, 32)}).build("byol").teacher, Teacher)
