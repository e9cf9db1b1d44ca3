"""Encoders under one small contract: pooled features of any net, and its maps, tokens and layers where it has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from selfsight.data.sizes import Size, each_axis
from selfsight.nets.hidden import hiding
from selfsight.nets.visible import VisiblePatches, see_only


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
    image_size: Size
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
        return each_axis(self.image_size, self.dims)

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


@dataclass(frozen=True)
class Features:
    """What one pass through an encoder answers, as far as the encoder has it.

    pooled: `(B, width)`, as calling the encoder. map: of the last layer `(B, C, *grid)`; `C` differs from
    `width` where a head widens. prefix: `(B, P, D)`, class, distillation and register tokens. patches:
    `(B, N, D)`, row by row, after the final norm. layers: as many of the last blocks or stages as were asked
    for, in their order: tokens `(B, P + N, D)` of a ViT's blocks before the final norm, else maps.
    """

    pooled: Tensor
    map: Tensor | None = None
    prefix: Tensor | None = None
    patches: Tensor | None = None
    layers: tuple[Tensor, ...] = ()


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
        self._maps_seen: tuple[tuple[int, int], ...] | None = None
        self.takes_keep = is_vit(model)
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

    def features(
        self,
        x: Tensor,
        *,
        keep: Tensor | None = None,
        hidden: Tensor | None = None,
        token: Tensor | None = None,
        layers: int = 0,
    ) -> Features:
        """All that an image `x (B, C, *S)` gives, in one pass.

        keep: the only patches `(B, K)` that a ViT sees; there is no map then.
        hidden, token: patches `(B, N)`, booleans, in whose place the net sees `token (D,)`, before positions are
            added; for ViTs and Swin.
        layers: how many of the last blocks or stages to answer, too.

        Raises:
            ValueError: for what this net does not have.
        """
        if (hidden is None) != (token is None) or (hidden is not None and keep is not None):
            raise ValueError("hidden and token belong together, and not beside keep: hide patches or leave them out")
        with ExitStack() as stack:
            if hidden is not None and token is not None:
                stack.enter_context(hiding(self.model, hidden, token))
            return self._tokens(x, keep, layers) if self.takes_keep else self._maps(x, keep, layers)

    def _tokens(self, x: Tensor, keep: Tensor | None, layers: int) -> Features:
        """Of a ViT, whose blocks are listened to, since timm's intermediates know no `keep`."""
        if layers > len(self.model.blocks):
            raise ValueError(f"{self.spec.name!r} has {len(self.model.blocks)} blocks, and layers asks for {layers}")
        found: list[Tensor] = []
        listened = list(self.model.blocks)[-layers:] if layers else []
        handles = [block.register_forward_hook(lambda _, __, out: found.append(out)) for block in listened]
        try:
            tokens = self.forward_features(x, keep)
        finally:
            for handle in handles:
                handle.remove()
        prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        pooled = self.forward_head(tokens, pre_logits=True)
        whole = None if keep is not None else patches.transpose(1, 2).unflatten(2, self.grid(tuple(x.shape[2:])))
        return Features(pooled, whole, prefix, patches, tuple(found))

    def _maps(self, x: Tensor, keep: Tensor | None, layers: int) -> Features:
        """Of a net with maps, or of one that answers pooled features alone."""
        if keep is not None:
            self._need_patches()
        if hasattr(self.model, "forward_intermediates"):
            last, maps = self.forward_intermediates(x, indices=max(1, layers), norm=True)
            pooled = self.forward_head(last, pre_logits=True)
            return Features(pooled, maps[-1], layers=tuple(maps) if layers else ())
        if layers:
            raise ValueError(
                f"{self.spec.name!r} does not answer several layers: leave them out, or give it timm's "
                f"forward_intermediates and forward_head"
            )
        if not hasattr(self.model, "forward_features"):
            return Features(self(x))
        last = self.forward_features(x)
        return Features(self.forward_head(last, pre_logits=True), last if last.ndim == x.ndim else None)

    def dense(self, x: Tensor) -> Tensor:
        """Map `(B, D, *grid)` of the last layer; `D` differs from `width` where a head widens."""
        found = self.features(x).map
        if found is None:
            raise ValueError(f"{self.spec.name!r} answers pooled features alone and has no map")
        return found

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Channels and stride of each map that `features(x, layers=...)` can answer, the last one last; () for none."""
        if self._maps_seen is None:
            self._maps_seen = self._look_at_maps()
        return self._maps_seen

    @torch.no_grad()
    def _look_at_maps(self) -> tuple[tuple[int, int], ...]:
        if not hasattr(self.model, "forward_intermediates"):
            return ()
        with evaluating(self):
            place = next(self.parameters())
            blank = place.new_zeros(1, self.spec.channels, *self.spec.size)
            found = self.forward_intermediates(blank, intermediates_only=True)
        return tuple((one.shape[1], round(blank.shape[2] / one.shape[2])) for one in found)

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

    def grid(self, size: Size | None = None) -> tuple[int, ...]:
        """Patches along each axis of an image of `size`, by default the encoder's own."""
        return tuple(side // self.patch for side in each_axis(size or self.spec.image_size, self.spec.dims))

    def _need_patches(self) -> None:
        if not self.takes_keep:
            raise ValueError(f"encoder {self.spec.name!r} has no patch tokens: use a ViT, such as 'vit_small_image'")


@torch.no_grad()
def as_encoder(module: nn.Module, *, image_size: Size, channels: int | None = None) -> Encoder:
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
    first = next(module.parameters(), torch.zeros(()))
    try:
        with evaluating(encoder):
            features = encoder(first.new_zeros(2, channels, *encoder.spec.size))
    except RuntimeError as error:  # torch's, for shapes that do not fit
        shape = (channels, *encoder.spec.size)
        raise ValueError(f"{type(module).__name__} cannot take images {shape}: {error}") from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        answer = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"an encoder answers features (B, D), {type(module).__name__} answered {answer}")
    encoder.spec = replace(encoder.spec, width=features.shape[1])
    encoder.training = module.training
    return encoder


def _same_encoder(encoder: Encoder, image_size: Size, channels: int | None) -> Encoder:
    """A ready encoder, whose size and channels hold."""
    spec = encoder.spec
    if each_axis(image_size, spec.dims) != spec.size:
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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block, the module and all its parts are in evaluation mode; then as they were."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def is_vit(model: Any) -> bool:
    """Whether a timm model is a ViT of a kind that can leave patches out."""
    return isinstance(model, VisionTransformer | Eva)
