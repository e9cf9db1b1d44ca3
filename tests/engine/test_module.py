"""The training step, its hooks and its order, with a method that writes down what happens to it."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import nn

from selfsight.data import ResidentLane, open_source, subset
from selfsight.engine.module import EpochLoader, Meter, Position, Schedule, Training
from selfsight.engine.seeds import derived_seed
from selfsight.methods.base import Method, Optimisation, Wants
from selfsight.nets import as_encoder
from selfsight.views import Augmentation, original, random_view, two_views
from selfsight.views.view_sets import ViewSet

OPTIMISATION = Optimisation(optimizer="sgd", lr=0.1, reference_batch=None, momentum=0, weight_decay=0, warmup_epochs=0)


class Linear(Method):
    """Predicts the mean of an image, and notes each hook."""

    optimisation = OPTIMISATION
    wants = Wants(views=1, or_more=True)

    def __init__(self, encoder, dropout=0.0):
        super().__init__(encoder)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.width, 1)
        self.notes, self.seeds = [], []

    def forward(self, batch):
        self.notes.append(("forward", self.step))
        self.seeds.append(batch.shared_seed)
        predicted = self.head(self.drop(self.encoder(batch.views[0])))[:, 0]
        return {"loss": (predicted - batch.views[0].mean((1, 2, 3))).square().mean()}

    def embed(self, view):
        return self.head(self.encoder(view))

    def before_epoch(self, encode):
        self.notes.append(("before_epoch", tuple(encode(lambda view: view.flatten(1))[0].shape)))

    def after_backward(self):
        self.notes.append(("after_backward", self.step))

    def after_step(self, step):
        self.notes.append(("after_step", step))


def make(images=64, batch=16, accumulate=1, epochs=2, views=None, dropout=0.0):
    from selfsight.engine.hardware import choose_hardware
    from selfsight.engine.train import encoder_of_all

    torch.manual_seed(0)
    encoder = as_encoder(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), image_size=8, channels=1)
    method = Linear(encoder, dropout)
    source = subset(open_source("digits"), range(images))
    lane = ResidentLane(source, batch, seed=3)
    schedule = Schedule(OPTIMISATION, epochs, len(lane), accumulate, batch * accumulate)
    training = Training(method, views or original(8), schedule, seed=3)
    training.encode = encoder_of_all(method, lane, images, choose_hardware("cpu", "32"))
    return training, lane


def run(training, lane, callbacks=()):
    """Train as the engine does, without anyone watching."""
    from lightning.pytorch import Callback, Trainer

    from selfsight.engine.train import quiet_lightning

    class Count(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.end_epoch()

    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=training.schedule.epochs,
            accumulate_grad_batches=training.schedule.accumulate,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*callbacks, Count()],
        )
        loader = EpochLoader(lane, training.schedule, lambda: training.position, begin=training.begin_epoch)
        trainer.fit(training, train_dataloaders=loader)
    return training.method


def test_hooks_come_in_order():
    training, lane = make(images=32, batch=8, accumulate=2, epochs=1)
    notes = run(training, lane).notes
    micro = [[("forward", step), ("after_backward", step)] * 2 for step in (0, 1)]
    assert notes == [("before_epoch", (32, 64)), *micro[0], ("after_step", 1), *micro[1], ("after_step", 2)]


def test_encode_answers_in_the_order_of_the_source():
    training, lane = make(images=40, batch=16)
    features, known = training.encode(lambda view: view.flatten(1))
    assert known.all()
    pixels = torch.stack([lane.source.read(position) for position in range(40)]).flatten(1)
    low, high = lane.source.value_range
    encoder = training.method.encoder
    expected = ((pixels - low) / (high - low) - encoder.spec.mean[0]) / encoder.spec.std[0]
    torch.testing.assert_close(features, expected)
    assert lane.shuffle and lane.position == 0  # the training's own way through the data is as it was


class Sampling(Linear):
    """Draws images of the first half alone, once it has seen them."""

    def before_epoch(self, encode):
        self.known = encode(lambda view: view.flatten(1))[1]

    def sampling(self):
        return (torch.arange(len(self.known)) < len(self.known) // 2).float()

    def forward(self, batch):
        self.notes.append(batch.index.tolist())
        return super().forward(batch)


def test_a_method_may_weigh_the_draw_of_each_epoch():
    seen = []
    for epochs, begun in ((2, 0), (2, 1)):  # from the start, and from the middle of the first epoch
        training, lane = make(images=32, batch=8, epochs=epochs)
        method = Sampling(training.method.encoder)
        method.known = torch.ones(32, dtype=torch.bool)
        training.method = method
        training.position = Position(step=begun, batch=begun)
        run(training, lane)
        seen.append([note for note in method.notes if isinstance(note, list)])
    whole, rest = seen
    assert len(whole) == 8 and all(index < 16 for indices in whole for index in indices)
    assert rest == whole[1:], "the order is a function of seed, epoch and weights"
    assert sorted(chain(*whole[:4])) != sorted(chain(*whole[4:]))


def test_accumulated_micro_batches_are_one_batch():
    whole = run(*make(batch=32, accumulate=1))
    parts = run(*make(batch=16, accumulate=2))
    assert whole.step == parts.step == 4
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_batches_left_over_at_the_end_of_an_epoch_make_no_step():
    training, lane = make(images=56, batch=8, accumulate=2, epochs=2)
    assert len(lane) == 7 and training.schedule.steps == 6
    assert run(training, lane).step == 6


def test_draws_follow_the_step_and_nothing_else():
    crops = ViewSet((random_view(8, Augmentation(jitter_p=0.0, grayscale=0.0)),))
    first, lane = make(views=crops, dropout=0.5)
    weights = [p.clone() for p in run(first, lane).parameters()]
    again, lane = make(views=crops, dropout=0.5)

    from lightning.pytorch import Callback

    class Meddle(Callback):
        def on_train_batch_start(self, *_):
            torch.rand(7)

    for a, b in zip(weights, run(again, lane, [Meddle()]).parameters(), strict=True):
        assert torch.equal(a, b)


def test_ranks_share_a_seed_that_differs_by_run_step_and_micro_batch():
    training, lane = make(images=32, batch=8, accumulate=2, epochs=1)
    canvases = next(iter(lane))

    def seeds(seed, rank=0):
        other = Training(training.method, training.view_set, training.schedule, seed=seed, rank=rank)
        training.method.seeds.clear()
        for step, done in ((0, 0), (0, 1), (1, 2), (1, 3)):
            other.position = Position(step=step, batch=done)
            other.training_step(canvases, 0)
        return list(training.method.seeds)

    one = seeds(3)
    assert one == seeds(3) == seeds(3, rank=1)
    assert len({*one, *seeds(4)}) == 8


def test_views_differ_by_step_micro_batch_and_rank():
    training, lane = make(views=two_views(8, Augmentation(jitter_p=0.0, grayscale=0.0)))
    canvases = next(iter(lane))
    other = Training(training.method, training.view_set, training.schedule, seed=3, rank=1)
    made = [training.make_views(canvases, *place).views[0] for place in ((0, 0), (0, 0), (1, 0), (0, 1))]
    made.append(other.make_views(canvases, 0, 0).views[0])
    assert torch.equal(made[0], made[1])
    assert not any(torch.equal(made[0], view) for view in made[2:])


def test_images_lie_with_channels_last():
    training, lane = make()
    view = training.first_batch(lane).views[0]
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_goes_on_where_it_stood():
    training, lane = make(images=64, batch=8)
    stand = [Position(step=2, epoch=1, batch=2)]
    loader = EpochLoader(lane, training.schedule, lambda: stand[0])
    rest = [batch[0].index.tolist() for batch in loader]
    stand[0] = Position(step=0, epoch=1)
    assert rest == [batch[0].index.tolist() for batch in loader][2:]


def test_meter_answers_means_and_begins_anew():
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add({"loss": torch.tensor(value, dtype=torch.bfloat16)})
    assert meter.flush() == {"loss": pytest.approx(3.0)}
    assert meter.flush() == {}


def test_schedule():
    schedule = Schedule(Optimisation(warmup_epochs=1.5), epochs=10, micro_batches=9, accumulate=2, images_a_step=64)
    assert (schedule.steps_an_epoch, schedule.steps, schedule.warmup) == (4, 40, 6)


def test_seeds_differ_between_streams_and_numbers():
    seeds = [derived_seed(*numbers) for numbers in ((0, 1), (1, 0), (0, 0, 1), (0, 1, 0), (1, 1))]
    assert len(set(seeds)) == 5 and all(0 <= seed < 2**63 for seed in seeds)
