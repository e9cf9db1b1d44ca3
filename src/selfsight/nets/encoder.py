"""Encoders: any timm model by name, under one small contract."""

from __future__ import annotations

import fnmatch
import inspect
import json
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import timm
import torch
from timm.models.eva import Eva
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from selfsight.naming import nearest
from selfsight.nets.visible import VisiblePatches, see_only

log = logging.getLogger(__name__)

SMALL_IMAGE = 64
FEWEST_TOKENS = 16

# Our own names: a timm name and options. The slim ResNet is for small images and short runs, which end before
# residual branches that begin at zero take part: at its start it would see one pixel in four of each stride.
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet_slim": (
        "resnet18",
        {"layers": [1, 1, 1, 1], "channels": [32, 64, 128, 256], "zero_init_last": False},
    ),
    "vit_small_image": ("vit_tiny_patch16_224", {"patch_size": 4, "embed_dim": 192, "depth": 6, "num_heads": 3}),
}


@dataclass(frozen=True)
class EncoderSpec:
    """How to build an encoder and how to feed it: what `encoder.json` holds.

    image_size: pixels a side, or a size per axis.
    stem: "small" where a ResNet's stem is a 3x3 convolution without max-pool, else "native".
    width: length of the pooled features.
    mean, std: per channel, of pixels that `value_range` maps to [0, 1].
    value_range: the lowest and highest value that the training data could hold.
    interpolation: how images were resized.
    dims: number of spatial axes.
    """

    name: str
    options: dict[str, Any]
    channels: int
    image_size: int | tuple[int, ...]
    stem: str
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_range: tuple[float, float] = (0.0, 255.0)
    interpolation: str = "bilinear"
    dims: int = 2

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return sizes(self.image_size, self.dims)

    @property
    def has_range(self) -> bool:
        """Whether the value range is another than that of an encoder that was only built."""
        return tuple(self.value_range) != EncoderSpec.value_range

    @property
    def has_mean(self) -> bool:
        """Whether mean and std are others than those of an encoder that was only built."""
        return set(self.mean) != {0.0} or set(self.std) != {1.0}

    @property
    def custom(self) -> bool:
        """Whether the encoder is a user's own module, which cannot be rebuilt by name."""
        return self.name == "custom"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EncoderSpec:
        """The spec in a dictionary, which may hold more; `ValueError` names what is missing."""
        known = {field.name for field in fields(cls)}
        missing = sorted(known - values.keys())
        if missing:
            raise ValueError(f"this does not describe an encoder: it lacks {', '.join(missing)}")
        own: dict[str, Any] = {name: values[name] for name in known}
        own |= {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
        return cls(**own)


class Encoder(nn.Module):
    """A timm model without its classifier: `encoder(x)` answers pooled features `(B, width)`.

    model: the timm model, or a user's module that answers `(B, D)`.
    takes_keep: whether it is a ViT, which can look at some patches only.
    fresh: whether its weights were drawn and none were loaded.
    prepared: whether its mean, std and value range are those that its weights were trained with.
    """

    model: Any
    fresh: bool = False
    prepared: bool = False

    def __init__(self, model: nn.Module, spec: EncoderSpec):
        super().__init__()
        self.model = model
        self.spec = spec
        self.takes_keep = _is_vit(model)
        if self.takes_keep and not isinstance(self.model.patch_drop, VisiblePatches):
            self.model.patch_drop = VisiblePatches(
                self.model.patch_drop, prefix=self.model.num_prefix_tokens, with_indices=isinstance(model, Eva)
            )

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Pooled features `(B, width)` of `x (B, C, *S)`, from patches `keep (B, K)` alone where given."""
        if not hasattr(self.model, "forward_features"):
            return self.model(x)
        return self.forward_head(self.forward_features(x, keep), pre_logits=True)

    def forward_features(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """timm's unpooled features."""
        if keep is None:
            return self.model.forward_features(x)
        self._need_patches()
        with see_only(self.model.patch_drop, keep):
            return self.model.forward_features(x)

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """timm's head on unpooled features; `pre_logits` stops where a classifier would begin."""
        return self.model.forward_head(features, pre_logits=pre_logits)

    def forward_intermediates(self, x: Tensor, **options: Any) -> Any:
        """timm's features of several layers."""
        return self.model.forward_intermediates(x, **options)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """`(B, prefix + N, D)` after the final norm, prefix tokens first; K for N with `keep (B, K)`."""
        self._need_patches()
        return self.forward_features(x, keep)

    def dense(self, x: Tensor) -> Tensor:
        """Map `(B, D, h, w)` of the last layer; `D` differs from `width` where a head widens."""
        return self.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[-1]

    @property
    def width(self) -> int:
        """Length of the pooled features."""
        return self.spec.width

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches: class, distillation, registers."""
        self._need_patches()
        return self.model.num_prefix_tokens

    @property
    def patch(self) -> int:
        """Pixels a side of a patch."""
        self._need_patches()
        return self.model.patch_embed.feat_ratio()

    def grid(self, size: int | tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Patches along each axis of an image of `size`, by default the encoder's own."""
        return tuple(side // self.patch for side in sizes(size or self.spec.image_size, self.spec.dims))

    def _need_patches(self) -> None:
        if not self.takes_keep:
            raise ValueError(f"encoder {self.spec.name!r} has no patch tokens: use a ViT, such as 'vit_small_image'")


def build_encoder(
    name: str,
    *,
    image_size: int | tuple[int, ...],
    channels: int = 3,
    pretrained: bool = False,
    stem: str | None = None,
    **options: Any,
) -> Encoder:
    """Any timm model, or one of `ALIASES`, as an encoder.

    stem: "small" (ResNets only) or "native"; by default small for ResNets up to 64 px.
    options: timm's own, such as `drop_path_rate`, and `patch_size`, `depth` and the like for ViTs.
    Raises `ValueError` for an unknown name or option, a size that the patches do not divide.
    """
    options = plain_options(options)
    timm_name, arguments = timm_call(name, image_size, channels, options)
    if pretrained and (name in ALIASES or not timm.is_model_pretrained(name)):
        raise ValueError(f"nobody published weights of {name!r}: leave pretrained out, or choose another encoder")
    model = create_timm(timm_name, arguments, pretrained=pretrained)
    _check_patches(model, name, sizes(image_size))
    stem = _choose_stem(model, name, stem, max(sizes(image_size)))
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


@torch.no_grad()
def as_encoder(module: nn.Module, *, image_size: int | tuple[int, ...], channels: int | None = None) -> Encoder:
    """A user's own module as an encoder: timm's protocol, or any that maps `(B, C, *S)` to `(B, D)`.

    Its width is seen by passing two blank images in evaluation mode. It is saved like any other,
    but only its author can rebuild it. An encoder passes through; `ValueError` where it is for another size.

    channels: 3 unless given.
    """
    if isinstance(module, Encoder):
        return _same_encoder(module, image_size, channels)
    if not isinstance(module, nn.Module):
        raise ValueError(f"an encoder is a torch.nn.Module, not {type(module).__name__}")
    channels = 3 if channels is None else channels
    dims = 2 if isinstance(image_size, int) else len(image_size)
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    encoder = Encoder(module, EncoderSpec("custom", {}, channels, image_size, "native", 0, zeros, ones, dims=dims))
    modes = [(part, part.training) for part in module.modules()]
    first = next(module.parameters(), torch.zeros(()))
    try:
        features = encoder.eval()(first.new_zeros(2, channels, *encoder.spec.size))
    except RuntimeError as error:  # torch's, for shapes that do not fit
        shape = (channels, *encoder.spec.size)
        raise ValueError(f"{type(module).__name__} cannot take images {shape}: {error}") from error
    finally:
        for part, training in modes:
            part.training = training
    if not isinstance(features, Tensor) or features.ndim != 2:
        answer = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"an encoder answers features (B, D), {type(module).__name__} answered {answer}")
    encoder.spec = replace(encoder.spec, width=features.shape[1])
    encoder.training = module.training
    return encoder


def _same_encoder(encoder: Encoder, image_size: int | tuple[int, ...], channels: int | None) -> Encoder:
    """A ready encoder, whose size and channels hold."""
    spec = encoder.spec
    if sizes(image_size, spec.dims) != spec.size:
        raise ValueError(
            f"the encoder was built for images of {spec.image_size} px and image_size is {image_size}: leave it out, "
            f"or build the encoder with image_size={image_size}"
        )
    if channels not in (None, spec.channels):
        raise ValueError(
            f"the encoder takes {spec.channels} channels and the images have {channels}: build the encoder with "
            f"channels={channels}, or read images with channels={spec.channels}"
        )
    return encoder


def encoder_names(pattern: str = "*") -> list[str]:
    """Names that `build_encoder` knows, ours first."""
    return [name for name in ALIASES if fnmatch.fnmatch(name, pattern)] + timm.list_models(pattern)


def is_encoder(name: str) -> bool:
    """Whether `build_encoder` knows the name; timm's may carry the tag of their weights."""
    return name in ALIASES or timm.is_model(name)


def check_encoder_name(name: str) -> None:
    """Raise a `ValueError` that names the nearest encoder when there is none of that name."""
    if not is_encoder(name):
        raise ValueError(f"unknown encoder {name!r}{nearest(name, encoder_names())}")


def timm_call(
    name: str, image_size: int | tuple[int, ...], channels: int, options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
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


def sizes(size: int | tuple[int, ...], dims: int = 2) -> tuple[int, ...]:
    """Pixels along each axis, from one number or one per axis."""
    return (size,) * dims if isinstance(size, int) else tuple(size)


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON will give them back."""
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


def _is_vit(model: Any) -> bool:
    return isinstance(model, VisionTransformer | Eva)


def _check_patches(model: Any, name: str, size: tuple[int, ...]) -> None:
    if not _is_vit(model):
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
