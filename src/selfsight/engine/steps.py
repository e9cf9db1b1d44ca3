"""The steps of `pretrain` from its settings: what is looked at, what learns and how, who feeds it, who watches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsight.data import Lane
from selfsight.engine.build import (
    build_augmentation,
    build_for,
    build_method,
    choose_optimisation,
    debias_of,
    resolve,
    size_for,
)
from selfsight.engine.columns import check_columns
from selfsight.engine.hardware import Hardware
from selfsight.engine.images import Images, divide
from selfsight.engine.module import Schedule, Training
from selfsight.engine.recorder import Recorder
from selfsight.engine.settings import Settings, check_method
from selfsight.engine.signals import StopRequest
from selfsight.engine.supervisor import Supervisor
from selfsight.engine.train import (
    encoder_of_all,
    make_monitor,
    make_schedule,
    make_supervisor,
    open_training_lane,
    prepare_method,
)
from selfsight.methods.base import Method, Optimisation
from selfsight.nets import Encoder
from selfsight.views import Augmentation, ViewSet


@dataclass(frozen=True)
class Setup:
    """What trains: images, the method around an encoder, its views and its optimisation."""

    settings: Settings
    images: Images
    model: Method
    augmentation: Augmentation
    optimisation: Optimisation
    views: ViewSet

    def config(self, precision: str) -> dict[str, Any]:
        """The settings as they are used: what `config.yaml` holds."""
        return resolve(
            self.settings.options,
            encoder=self.model.encoder,
            model=self.model,
            optimisation=self.optimisation,
            augmentation=self.augmentation,
            precision=precision,
        )


def look_at_images(settings: Settings) -> tuple[Images, Encoder]:
    """The images, divided, and the encoder that is built for them."""
    images = divide(
        settings.data,
        split=settings.split,
        limit=settings.limit,
        label=settings.label,
        path_column=settings.path_column,
        channels=settings.channels,
        group=settings.group,
        seed=settings.seed,
        hold_out=settings.monitor,
    )
    net = build_for(
        images.train,
        settings.encoder,
        size_for(images.train, settings.encoder, settings.image_size),
        settings.encoder_options,
        mean=settings.mean,
        std=settings.std,
        weights=settings.weights,
        seed=settings.seed,
    )
    return images.as_trained(net), net


def choose_setup(settings: Settings, images: Images, net: Encoder) -> Setup:
    """The method, and how it is trained: as its paper says where the settings ask for nothing else."""
    debias = debias_of(settings.debias)
    model = build_method(settings.method, net, settings.method_options, debias)
    images = check_columns(images, model, debias and debias.column)
    check_method(model, settings.options, images)
    augmentation = build_augmentation(model, settings.view_options)
    names = ("epochs", "optimizer", "lr", "weight_decay", "warmup_epochs", "clip")
    optimisation = choose_optimisation(model.optimisation, **{name: settings.options[name] for name in names})
    size = size_for(images.train, net, None)
    views = model.views(size, augmentation).normalised(net.spec.mean, net.spec.std)
    return Setup(settings, images, model, augmentation, optimisation, views)


def open_feed(setup: Setup, hardware: Hardware) -> tuple[Lane, Schedule]:
    """The lane that training reads, and how many steps it makes of it."""
    settings = setup.settings
    names = ("batch_size", "lane", "workers", "seed", "max_bad")
    chosen = {name: settings.options[name] for name in names}
    feed = open_training_lane(setup.images.train, setup.views, hardware, **chosen)
    return feed, make_schedule(setup.optimisation, settings.epochs, feed, settings.accumulate)


def make_training(
    setup: Setup,
    config: dict[str, Any],
    feed: Lane,
    schedule: Schedule,
    hardware: Hardware,
    path: Path,
    stop: StopRequest,
) -> tuple[Training, Recorder, Supervisor]:
    """The training with those who write down what happens and watch it."""
    settings, images = setup.settings, setup.images
    model = prepare_method(setup.model, images.train, schedule, hardware, compiled=settings.compile)
    training = Training(model, setup.views, schedule, seed=settings.seed, rank=hardware.rank)
    training.encode = encoder_of_all(model, feed, len(images.train), hardware)
    monitor = make_monitor(training, images, feed, setup.augmentation, hardware, workers=settings.workers)
    recorder, supervisor = make_supervisor(
        path, config, training, feed, monitor, images, hardware, stop=stop, max_minutes=settings.max_minutes
    )
    return training, recorder, supervisor
