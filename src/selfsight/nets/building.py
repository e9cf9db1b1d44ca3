"""Encoders by name: any timm model, a few of our own, or a class of one's own by its import path."""

from __future__ import annotations

import fnmatch
import importlib.util
import inspect
import json
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import timm
from timm.models.resnet import ResNet
from torch import nn

from selfsight.data.sizes import Size, each_axis
from selfsight.naming import imported, nearest
from selfsight.nets.encoder import Encoder, EncoderSpec, as_encoder, is_vit

log = logging.getLogger(__name__)

SMALL_IMAGE = 64
FEWEST_TOKENS = 16
CHANNELS, SIZES = ("channels", "in_chans", "in_channels"), ("image_size", "img_size", "input_size")

# Our own names: a timm name and options. The slim ResNet is for small images and short runs, which end before
# residual branches that begin at zero take part: at its start it would see one pixel in four of each stride.
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet_slim": (
        "resnet18",
        {"layers": [1, 1, 1, 1], "channels": [32, 64, 128, 256], "zero_init_last": False},
    ),
    "vit_small_image": ("vit_tiny_patch16_224", {"patch_size": 4, "embed_dim": 192, "depth": 6, "num_heads": 3}),
}


def build_encoder(
    name: str,
    *,
    image_size: Size,
    channels: int = 3,
    pretrained: bool = False,
    stem: str | None = None,
    **options: Any,
) -> Encoder:
    """Any timm model, one of `ALIASES`, or a class of one's own by its path ("mypackage.Net"), as an encoder.

    stem: "small" (ResNets only) or "native"; by default small for ResNets up to 64 px.
    options: timm's own, such as `drop_path_rate`, and `patch_size`, `depth` and the like for ViTs; or the
        class's, which is told `channels` (or `in_chans`) and `image_size` (or `img_size`) where it takes them.
    Raises `ValueError` for an unknown name or option, a size that the patches do not divide.
    """
    options = plain_options(options)
    if is_path(name):
        return build_own(name, image_size, channels, options, pretrained=pretrained, stem=stem)
    timm_name, arguments = timm_call(name, image_size, channels, options)
    if pretrained and (name in ALIASES or not timm.is_model_pretrained(name)):
        raise ValueError(f"nobody published weights of {name!r}: leave pretrained out, or choose another encoder")
    try:
        model = create_timm(timm_name, arguments, pretrained=pretrained)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        if not options:
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise ValueError(f"timm cannot build {name!r} with encoder_options {given}: {error}") from error
    _check_patches(model, name, each_axis(image_size))
    stem = _choose_stem(model, name, stem, max(each_axis(image_size)))
    if stem == "small":
        small_stem(model, channels)
    if pretrained:
        fresh = ", except conv1: the small stem starts anew (stem='native' keeps timm's)" if stem == "small" else ""
        log.info("loaded all weights of %s from %s%s", name, model.pretrained_cfg["architecture"], fresh)
    mean, std = _pretrained_statistics(model, channels) if pretrained else ((0.0,) * channels, (1.0,) * channels)
    width = int(model.head_hidden_size)
    encoder = Encoder(model, EncoderSpec(name, options, channels, image_size, stem, width, mean, std))
    encoder.fresh = not pretrained
    return encoder


def is_path(name: str) -> bool:
    """Whether a name is the dotted path of a class, and no timm model with the tag of its weights."""
    return "." in name and all(part.isidentifier() for part in name.split(".")) and not is_encoder(name)


def build_own(
    path: str, image_size: Size, channels: int, options: dict[str, Any], *, pretrained: bool, stem: str | None
) -> Encoder:
    """A class of one's own, or a function that answers a module, as an encoder that is rebuilt by its path."""
    if stem not in (None, "native"):
        raise ValueError(f"only ResNets have a small stem, {path!r} is your own: leave stem out")
    make = find_own(path)
    keywords = own_keywords(path, image_size, channels, options)
    if pretrained:
        if "pretrained" not in inspect.signature(make).parameters:
            raise ValueError(f"encoder {path!r} takes no pretrained: leave it out")
        keywords["pretrained"] = True
    try:
        module = make(**keywords)
    except TypeError as error:
        raise ValueError(f"encoder {path!r} cannot be built with {keywords}: {error}") from error
    encoder = as_encoder(module, image_size=image_size, channels=channels)
    encoder.spec = replace(encoder.spec, name=path, options=options)
    encoder.fresh = not pretrained
    return encoder


def own_keywords(path: str, image_size: Size, channels: int, options: dict[str, Any]) -> dict[str, Any]:
    """What a class of one's own is built with: channels and size under the names that it has for them, and options."""
    known = inspect.signature(find_own(path)).parameters
    if not any(item.kind is item.VAR_KEYWORD for item in known.values()):
        for name in options:
            if name not in known:
                raise ValueError(f"encoder {path!r} has no option {name!r}{nearest(name, known)}")
    both = ((CHANNELS, channels), (SIZES, image_size))
    return {name: value for names, value in both for name in names if name in known} | options


def find_own(path: str) -> Callable[..., Any]:
    """What builds a module, by its dotted path."""
    first = path.split(".")[0]
    if is_encoder(first) and importlib.util.find_spec(first) is None:
        raise ValueError(f"unknown encoder {path!r}{nearest(path, timm.list_pretrained(f'{first}.*'))}")
    found = imported(path, "encoder")
    if not callable(found):
        raise ValueError(f"encoder {path!r} is no class and no function, but a {type(found).__name__}")
    return found


def encoder_names(pattern: str = "*") -> list[str]:
    """Names that `build_encoder` knows, ours first."""
    return [name for name in ALIASES if fnmatch.fnmatch(name, pattern)] + timm.list_models(pattern)


def is_encoder(name: str) -> bool:
    """Whether `build_encoder` knows the name; timm's may carry the tag of their weights."""
    tagged = "." not in name or timm.is_model_pretrained(name)
    return name in ALIASES or (timm.is_model(name) and tagged)


def check_encoder_name(name: str) -> None:
    """Raise a `ValueError` that names the nearest encoder when there is none of that name, nor a class at that path."""
    if is_path(name):
        find_own(name)
    elif not is_encoder(name):
        raise ValueError(f"unknown encoder {name!r}{nearest(name, encoder_names())}")


def timm_call(name: str, image_size: Size, channels: int, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """timm's name and keyword arguments that build the model: the same for us and for exported snippets."""
    check_encoder_name(name)
    timm_name, preset = ALIASES.get(name, (name, {}))
    arguments = {"num_classes": 0, "in_chans": channels, **preset, **options}
    known = _parameters(timm_name)
    if "img_size" in known:
        arguments.setdefault("img_size", image_size)
    if "dynamic_img_size" in known:
        arguments.setdefault("dynamic_img_size", True)  # crops of other sizes pass through the same net
    return timm_name, arguments


def small_stem(model: Any, channels: int) -> None:
    """Start a ResNet at full resolution: a 3x3 convolution of stride 1 and no max-pool."""
    if isinstance(model.conv1, nn.Sequential):
        first: Any = model.conv1[0]
        first.stride = (1, 1)
    else:
        model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON will give them back."""
    for key, value in options.items():  # timm only finds out while it trains
        if key.endswith("_rate") and not (isinstance(value, int | float) and 0 <= value < 1):
            raise ValueError(f"{key}, of encoder_options, is a share from 0 to below 1, not {value!r}")
    try:
        return json.loads(json.dumps(options))
    except TypeError as error:
        raise ValueError(f"encoder options are numbers, strings, lists or dictionaries: {error}") from error


def create_timm(timm_name: str, arguments: dict[str, Any], *, pretrained: bool = False) -> Any:
    """timm's model; `ValueError` where timm objects to an option or cannot give fitting weights."""
    try:
        return timm.create_model(timm_name, pretrained=pretrained, **arguments)
    except TypeError as error:
        option = re.search(r"(unexpected|multiple values for) keyword argument '(\w+)'", str(error))
        if option is None:
            raise
        kind, key = option.groups()
        hint = nearest(key, sorted(_parameters(timm_name))) if kind == "unexpected" else ": its name fixes the value"
        raise ValueError(f"encoder {timm_name!r} has no option {key!r}{hint}") from error
    except RuntimeError as error:
        if not pretrained:
            raise
        raise ValueError(f"pretrained weights of {timm_name!r} do not fit these options: {error}") from error
    except OSError as error:
        if not pretrained:
            raise
        raise ValueError(f"could not fetch pretrained weights of {timm_name!r}, is there a network? {error}") from error


def _parameters(timm_name: str) -> set[str]:
    """Keywords of the class behind a timm name, of its base classes too."""
    entrypoint: Callable[..., Any] = timm.model_entrypoint(timm_name)
    model_class = inspect.signature(entrypoint, eval_str=True).return_annotation
    named: set[str] = set()
    for base in getattr(model_class, "__mro__", ()):
        if issubclass(base, nn.Module) and base is not nn.Module:
            named.update(inspect.signature(base.__init__).parameters)
    return named - {"self", "args", "kwargs"}


def _check_patches(model: Any, name: str, size: tuple[int, ...]) -> None:
    if not is_vit(model):
        return
    patch = model.patch_embed.feat_ratio(as_scalar=False)
    if any(side % step for side, step in zip(size, patch, strict=True)):
        lower, upper = size[0] // patch[0] * patch[0], -(-size[0] // patch[0]) * patch[0]
        sides = " or ".join(str(side) for side in (lower, upper) if side)
        raise ValueError(
            f"patches of {patch[0]} px do not divide images of {size[0]} px in {name!r}: "
            f"set image_size to {sides}, or patch_size to a divisor of {size[0]}"
        )
    tokens = (size[0] // patch[0]) * (size[1] // patch[1])
    if tokens < FEWEST_TOKENS:
        warnings.warn(
            f"{name!r} sees an image of {size[0]} px as only {tokens} patches: set a smaller patch_size", stacklevel=3
        )


def _choose_stem(model: Any, name: str, stem: str | None, side: int) -> str:
    if stem not in (None, "small", "native"):
        raise ValueError(f"stem is 'small' or 'native', not {stem!r}")
    if stem == "small" and not isinstance(model, ResNet):
        raise ValueError(f"only ResNets have a small stem, {name!r} is none: leave stem out")
    small = isinstance(model, ResNet) and side <= SMALL_IMAGE
    return stem or ("small" if small else "native")


def _pretrained_statistics(model: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std that the weights were trained with; their average where channels differ."""
    mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    if len(mean) == channels:
        return tuple(mean), tuple(std)
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
