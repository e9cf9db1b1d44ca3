"""What is judged, and on what: the encoder by path or by name, the training and the test images."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import nn

from selfsight.data import Source, as_trained, choose_size, mean_and_std
from selfsight.data.labels import missing_classes
from selfsight.data.parts import find_part
from selfsight.data.sizes import check_flat, own_size, spatial_axes
from selfsight.data.subsets import hold_out, without_repeats
from selfsight.naming import nearest
from selfsight.nets import (
    Encoder,
    EncoderSpec,
    build_encoder,
    encoder_names,
    is_encoder,
    is_path,
    load_encoder,
    read_spec,
)

log = logging.getLogger(__name__)

TEST_SHARE = 0.2


def subject_of(model: Any, pretrained: bool = False) -> str | Path | Encoder:
    """What is judged: a run's folder, a path, a name or an encoder, whichever way it was given.

    Raises:
        ValueError: for anything else, and for `pretrained` beside what has weights.
    """
    subject = getattr(model, "path", model)
    if isinstance(subject, nn.Module) and not isinstance(subject, Encoder):
        raise ValueError(
            f"{type(subject).__name__} does not say what images it takes: selfsight.nets.as_encoder(module, "
            "image_size=...) does, or load_encoder(run, module=...) where a run trained it"
        )
    if not isinstance(subject, str | Path | Encoder):
        raise ValueError(
            f"an encoder is a run folder, a .safetensors file, a name or an Encoder, not {type(subject).__name__}"
        )
    if not isinstance(subject, Encoder) and not str(subject).strip():
        raise ValueError("the encoder is an empty text: give a run folder, a .safetensors file or a name")
    if pretrained and not is_name(subject):
        raise ValueError(
            "pretrained loads timm's weights into an encoder by name, and this one has its own: leave it out"
        )
    return subject


def on_disk(model: str | Path | Encoder) -> TypeGuard[str | Path]:
    """Whether `model` is a run folder or a file, and neither the name of a net nor an encoder."""
    if isinstance(model, Encoder):
        return False
    path = Path(model)
    return path.exists() or len(path.parts) > 1 or path.suffix == ".safetensors"


def is_name(model: str | Path | Encoder) -> bool:
    """Whether `model` is the name of a net, which has no weights of its own."""
    return not isinstance(model, Encoder) and not on_disk(model)


def channels_for(model: str | Path | Encoder, pretrained: bool = False, asked: int | None = None) -> int | None:
    """How many channels the images must have: the encoder's, else those asked for, or None where the data decides.

    Raises:
        ValueError: when others are asked for than the encoder takes.
    """
    if isinstance(model, Encoder):
        own = model.spec.channels
    elif on_disk(model):
        own = read_spec(model).channels
    else:
        return asked or (3 if pretrained else None)
    if asked not in (None, own):
        raise ValueError(f"the encoder takes images of {own} channels, and channels is {asked}: leave channels out")
    return own


def as_encoder_reads(source: Source, spec: EncoderSpec) -> Source:
    """The source in the range of values that an encoder was trained with.

    Raises:
        ValueError: where it has other channels or axes, or most values lie outside of that range.
    """
    if source.channels != spec.channels:
        raise ValueError(
            f"{source.name} has images of {source.channels} channels, and the encoder takes {spec.channels}: "
            "give images of that many"
        )
    dims = spatial_axes(source)
    if dims != spec.dims:
        raise ValueError(
            f"{source.name}, read with {source.channels} channels, has images of {dims} axes, and the encoder takes "
            f"{spec.dims}: give such images"
        )
    return as_trained(source, spec.value_range)


def find_encoder(
    model: str | Path | Encoder,
    source: Source,
    image_size: int | Sequence[int] | None = None,
    *,
    pretrained: bool = False,
    seed: int = 0,
) -> Encoder:
    """The encoder of a run folder or `.safetensors` file, or one by name, in evaluation mode.

    A name without pretrained weights means an untrained encoder, drawn by `seed` and normalised by
    the statistics of `source`. A named encoder is for `image_size`, by default as `choose_size` has it.
    An encoder that is given is copied and stays as it is.
    """
    if isinstance(model, Encoder):
        encoder = copy.deepcopy(model).eval()
        if not (encoder.prepared or encoder.spec.has_range):
            encoder.spec = dataclasses.replace(encoder.spec, value_range=source.value_range)
        if not (encoder.prepared or encoder.spec.has_mean):
            log.info("the encoder's spec names no mean and std: images go in from 0 to 1")
        return encoder
    if on_disk(model):
        return load_encoder(model)
    own = is_path(str(model))
    if not (own or is_encoder(str(model))):
        raise ValueError(f"{str(model)!r} is neither a run folder nor an encoder{nearest(str(model), encoder_names())}")
    if not own:
        check_flat(source, str(model))
    size = choose_size(source, image_size)
    size = own_size(source, size) if own else size
    encoder = drawn(
        lambda: build_encoder(str(model), image_size=size, channels=source.channels, pretrained=pretrained), seed
    )
    encoder.spec = dataclasses.replace(encoder.spec, value_range=source.value_range)
    if not pretrained:
        mean, std = mean_and_std(source, seed=seed)
        encoder.spec = dataclasses.replace(encoder.spec, mean=mean, std=std)
    return encoder.eval()


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """The same encoder with weights drawn by `seed`, in evaluation mode."""
    spec = encoder.spec
    assert not spec.custom, "only its author can draw a module of a user's own again"
    twin = drawn(
        lambda: build_encoder(
            spec.name, image_size=spec.image_size, channels=spec.channels, stem=spec.stem, **spec.options
        ),
        seed,
    )
    twin.spec = spec
    return twin.eval()


def drawn(build: Callable[[], Encoder], seed: int) -> Encoder:
    """What `build` answers under `seed`, with torch's global generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train_and_test(
    parts: Mapping[str, Source],
    *,
    test_split: str | None = None,
    seed: int = 0,
    group: str | None = None,
    labelled: bool = True,
) -> tuple[Source, Source, str]:
    """Training images, test images, and a sentence that says which they are.

    test_split: by default "test" where the data has it, else "val"; data of one part is cut 80 to 20 by `seed`
        (`hold_out`).
    group: a column whose equal values are on one side. labelled: whether it is about classes.

    Where the data say which images are for testing, those stay as they are: a training image that equals one of them
    or shares its group is left out of training, with counts in the log (`without_repeats`).
    """
    if len(parts) == 1 and test_split is None:
        (source,) = parts.values()
        why = missing_classes(source) if labelled else None
        if why is not None:
            raise ValueError(why)
        cut = hold_out(source, TEST_SHARE, seed, group)
        return cut.rest, cut.held, f"{source.name} has no test split: {cut.said} is held out by seed {seed}"
    wanted = ("test" if "test" in parts else "val") if test_split is None else test_split
    test, train = (find_part(parts, name) for name in (wanted, "train"))
    if train == test:
        raise ValueError(f"test_split {test_split!r} is the part that is learned from: name another")
    said = f"trained on the split {train!r}, tested on {test!r}"
    return without_repeats(parts[train], parts[test], group), parts[test], said
