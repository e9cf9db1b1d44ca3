"""Training an encoder without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from selfsight.engine import Run
    from selfsight.methods import Method


def pretrain(
    data: Any,
    *,
    method: str | Callable[..., Method] = "simclr",
    encoder: str | nn.Module = "resnet18",
    epochs: int = 100,
    batch_size: int = 256,
    out: str | Path | None = None,
    image_size: int | Sequence[int] | None = None,
    lr: float | None = None,
    optimizer: Literal["adamw", "adam", "sgd", "lars"] | None = None,
    weight_decay: float | None = None,
    warmup_epochs: float | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    precision: Literal["auto", "bf16", "32"] = "auto",
    devices: int | str = "auto",
    lane: Literal["auto", "resident", "streaming"] = "auto",
    workers: int | None = None,
    limit: int | None = None,
    split: str | None = None,
    label: str = "label",
    path_column: str = "path",
    channels: int | None = None,
    group: str | None = None,
    debias: str | dict[str, Any] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
    compile: bool = False,
    monitor: bool = True,
    on_alarm: Literal["warn", "stop"] = "warn",
    max_bad: int | float | None = None,
    checkpoint_minutes: float = 5.0,
    max_minutes: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    method_options: dict[str, Any] | None = None,
    encoder_options: dict[str, Any] | None = None,
    view_options: dict[str, Any] | None = None,
) -> Run:
    """Train an encoder on images without labels.

    Everything about the run lies in one folder: settings, metrics, a picture of the first views, the
    log, checkpoints and the encoder. Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 end the run after the present step,
    with a checkpoint; `resume` goes on from there and arrives at the same weights.

    Args:
        data: A folder of images, a table (.csv, .parquet), .npy, .npz, "digits", an array or a dataset.
        method: A method's name (`selfsight list methods`), or the path of a class of your own.
        encoder: A timm model by name, "resnet_slim", "vit_small_image", the path of a class of your own, or a module.
        epochs: How often every image is seen.
        batch_size: Images a batch, on each device.
        out: The run's folder; by default runs/METHOD-1, runs/METHOD-2 and so on.
        image_size: Pixels a side of a view, or a size for each axis; by default the images' own where all are alike
            and have at most 96 px, else 224. A ready encoder has its own.
        lr: Learning rate for the method's reference batch, usually 256 images, scaled to the real one.
        optimizer: By default the paper's; another one wants an lr of its own.
        weight_decay: By default the paper's.
        warmup_epochs: Epochs in which the rate rises; by default the paper's, at most a tenth of all.
        clip: Largest norm of the gradient; by default the paper's.
        accumulate: Batches that make one step.
        precision: "auto" is bf16 where the hardware computes it.
        devices: "auto", "cpu", "gpu", or a number of GPUs (of CPU processes, no more than cores, where there is none).
        lane: "resident" decodes all images once into memory, "streaming" once an epoch; "auto" decides.
        workers: Processes or threads that decode; by default one a processor.
        limit: Train on a seeded subset of so many images.
        split: Which part of the data; by default "train" where there is one, else all.
        label: A table's column of labels; only the monitor and methods that say so look at labels.
        path_column: A table's column of paths, relative to the table's folder.
        channels: How many channels images are read with: 1 grey, 3 RGB, 4 RGB and alpha; of arrays, how long the
            axis of channels is. By default what the data suggest.
        group: A column of what belongs together, such as patients: nothing of it is both trained on and held out for
            the monitor. Equal images never are.
        debias: A column of groups, such as sites, that the embeddings shall not tell apart within a class or
            between two: FairKL is added to the loss. Needs labels. Its options are {"column": "site", "weight": 1.0,
            "form": "kl"}, --debias.column site on the shell; "moments" is steadier where few images of a batch
            have a group that is unusual for their class, and 100 its usual weight.
        mean: Of pixels in [0, 1], one for all channels or one for each; by default that of a seeded
            sample of the training images, or what trained weights expect.
        std: As `mean`.
        seed: Fixes weights, order and views.
        weights: Start from the encoder of a run or of a .safetensors file, with its mean, std and value range.
        compile: Compile the encoder; slow to start, faster for long runs.
        monitor: Hold out some images and measure the representation on them.
        on_alarm: Whether an alarm (collapse, non-finite loss and the like) only warns, or stops the run.
        max_bad: How many unreadable images are borne, as a number or a share; by default 1 %, and always ten.
        checkpoint_minutes: Minutes between checkpoints within an epoch.
        max_minutes: Stop after so many minutes, with a checkpoint, as Ctrl-C does.
        resume: Go on with the run in `out`.
        overwrite: Delete the run in `out` first; never what selfsight did not write.
        method_options: Keywords of the method, as in its paper: {"temperature": 0.2}.
        encoder_options: Options of the encoder: {"drop_path_rate": 0.1, "pretrained": True}.
        view_options: Fields of `Augmentation`: {"blur": 0.5}.

    Returns:
        The run, with `path`, `metrics`, `summary` and `encoder`; `finished` is False when it was stopped.

    Raises:
        ValueError: for whatever was asked wrongly, naming the fix.
        OSError: when a checkpoint cannot be written; the former one stays valid.
    """
    options = dict(locals())
    from selfsight import engine, gallery
    from selfsight.memory import keep_memory

    settings = engine.Settings(options)
    hardware = engine.choose_hardware(devices, precision)
    if hardware.accelerator == "cpu":
        keep_memory()
    claim = engine.Claim(
        out,
        method,
        resume=resume,
        overwrite=overwrite,
        first=hardware.rank == 0,  # the others may come when the folder is no longer empty
        several=hardware.external,
        sources=(data, weights),
    )
    if hardware.world > 1 and not hardware.external:
        with claim:
            engine.run_on_ranks(pretrain, hardware.world, {**options, "out": claim.path})
        return engine.open_run(claim.path)

    with engine.StopRequest() as stop, engine.Meeting(hardware) as meeting, claim, engine.run_log(hardware.rank) as log:
        images, net = engine.look_at_images(settings)
        setup = engine.choose_setup(settings, images, net)
        feed, schedule = engine.open_feed(setup, hardware)
        config = setup.config(hardware.precision)
        path = claim.take(config)
        if hardware.rank == 0:
            log.open(path)
            setup.images.write_held_out(path / "held_out.csv")

        training, recorder, supervisor = engine.make_training(setup, config, feed, schedule, hardware, path, stop)
        claim.watch(lambda: training.position.step)
        if resume:
            engine.resume_training(recorder, supervisor, training)
        elif hardware.rank == 0:
            batch = training.first_batch(feed)
            engine.check_footprint(training.method, batch, hardware)
            gallery.draw_views(batch, setup.views, path / "views.png")
        meeting.join()
        engine.fit(training, feed, supervisor, hardware)
    return engine.Run(path)
