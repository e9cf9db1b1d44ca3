"""What is judged, and on what: the encoder by path or by name, the training and the test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import torch

from selfsight.data import Source, as_trained, choose_size, mean_and_std, split_at_random, splits
from selfsight.data.sizes import check_flat, spatial_axes
from selfsight.naming import nearest
from selfsight.nets import Encoder, EncoderSpec, build_encoder, encoder_names, is_encoder, load_encoder, read_spec

TEST_SHARE = 0.2


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
            f"{source.name} has images of {dims} axes, and the encoder takes {spec.dims}: give such images"
        )
    return as_trained(source, spec.value_range)


def find_encoder(
    model: str | Path | Encoder,
    source: Source,
    image_size: int | None = None,
    *,
    pretrained: bool = False,
    seed: int = 0,
) -> Encoder:
    """The encoder of a run folder or `.safetensors` file, or one by name, in evaluation mode.

    A name without pretrained weights means an untrained encoder, drawn by `seed` and normalised by
    the statistics of `source`. A named encoder is for `image_size`, by default as `choose_size` has it.
    """
    if isinstance(model, Encoder):
        return model.eval()
    if on_disk(model):
        return load_encoder(model)
    if not is_encoder(str(model)):
        raise ValueError(f"{str(model)!r} is neither a run folder nor an encoder{nearest(str(model), encoder_names())}")
    check_flat(source, str(model))
    image_size = choose_size(source, image_size)
    encoder = drawn(
        lambda: build_encoder(str(model), image_size=image_size, channels=source.channels, pretrained=pretrained), seed
    )
    encoder.spec = dataclasses.replace(encoder.spec, value_range=source.value_range)
    if not pretrained:
        mean, std = mean_and_std(source, seed=seed)
        encoder.spec = dataclasses.replace(encoder.spec, mean=mean, std=std)
    return encoder.eval()


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """The same encoder with weights drawn by `seed`, in evaluation mode."""
    spec = encoder.spec
    if spec.custom:
        raise ValueError("a custom encoder cannot be drawn again untrained: set baselines=False")
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
    data: Any, *, test_split: str | None = None, seed: int = 0, **options: Any
) -> tuple[Source, Source, str]:
    """Training images, test images, and a sentence that says which they are.

    test_split: by default "test" where the data has it, else "val"; data without splits is cut
    80 to 20 by `seed`, with the shares of the labels kept.
    """
    parts = splits(data, **options)
    if len(parts) == 1 and test_split is None:
        (source,) = parts.values()
        train, test = split_at_random(source, TEST_SHARE, seed)
        return train, test, f"{source.name} has no test split: a stratified {TEST_SHARE:.0%} is held out by seed {seed}"
    wanted = test_split or ("test" if "test" in parts else "val")
    for name in (wanted, "train"):
        if name not in parts:
            raise ValueError(f"the data has no split {name!r} but {', '.join(map(repr, parts))}")
    return parts["train"], parts[wanted], f"trained on the split 'train', tested on {wanted!r}"
