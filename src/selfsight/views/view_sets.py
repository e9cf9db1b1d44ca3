"""From canvases to a batch of views, on the canvases' device.

All parameters of a batch are drawn first, from the generator alone; then the images are worked
through in chunks (`chunks.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from selfsight.data.canvas import Canvas
from selfsight.data.sizes import Size, alike, each_axis
from selfsight.views import adjust
from selfsight.views.augmentation import Augmentation
from selfsight.views.batch import Batch, each_part
from selfsight.views.chunks import Chunk, cut
from selfsight.views.colour import (
    Colour,
    ColourJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    Noise,
    Parameters,
    Solarize,
    rows,
    to_device,
)
from selfsight.views.geometry import Affine, CentreCrop, Crop, Flip, Geometry, Placement, RandomResizedCrop, Step, Whole
from selfsight.views.masks import Sampler
from selfsight.views.resample import box_taps, read_affine, read_box, read_bytes, read_taps
from selfsight.views.tiles import Tiles

SMALL = 48  # pixels a side up to which a CPU reads an image faster by a product with a matrix than by taps


@dataclass(frozen=True)
class View:
    """How one view is made.

    size: pixels a side, or one size for each axis.
    geometry: where it lies in the image. colour: changes of its pixels, in this order.
    tiles: how it is cut, before its colours are changed: each tile has colours and gives a view of its own.
    turns: quarter turns in the plane of the last two axes, without loss; each gives a view of its own.
    raw: whether pixels stay in [0, 1] when the set is normalised.
    mean, std: of each channel, to be taken out; None for those that the set is normalised with, the encoder's.
    follows: it lies where the view so many before it lies, -1 for the one before; None to draw its own place.
    """

    size: Size
    geometry: Geometry
    colour: tuple[Colour, ...] = ()
    tiles: Tiles | None = None
    turns: tuple[int, ...] = (0,)
    raw: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    follows: int | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean is {self.mean} and std {self.std}: give both, or neither")
        if not isinstance(self.size, int) and len(set(self.size[-2:])) > 1 and any(turn % 2 for turn in self.turns):
            raise ValueError(
                f"quarter turns of a view of {self.size} pixels have another shape, which tells them apart: give its "
                f"last two axes one size"
            )
        if self.tiles is not None:
            shape = self.shape(len(self.tiles.grid))
            if any(reach > side for reach, side in zip(self.tiles.span, shape, strict=True)):
                raise ValueError(f"tiles that reach over {self.tiles.span} pixels do not fit a view of {shape}")

    @property
    def takes_mean(self) -> bool:
        """Whether the set's mean and std are taken out of it."""
        return not self.raw and self.mean is None

    @property
    def count(self) -> int:
        """How many tiles it is cut into, 1 for one that is not."""
        return 1 if self.tiles is None else self.tiles.count

    def sample(self, n: int, generator: torch.Generator, extent: Tensor, placement: Placement | None = None) -> Draw:
        """All parameters for `n` images, on the device of `extent`; `placement` is that of the view it follows."""
        if placement is None:
            placement = self.geometry.sample(n, generator, extent)
        corners = None if self.tiles is None else self.tiles.sample(n, generator).to(extent.device)
        drawn = [to_device(colour.sample(n * self.count, generator), extent.device) for colour in self.colour]
        return Draw(placement, drawn, corners)

    def apply(self, chunk: Chunk, draw: Draw, out: Tensor | None = None) -> Tensor:
        """The view `(n, C, *size)` of the chunk's images in [0, 1], or its tiles `(n * count, C, *size)`, those of
        an image side by side; quarter turns come later. out: where to write the view.
        """
        x = self.read(chunk, draw.placement)
        if self.tiles is not None and draw.corners is not None:
            x = self.tiles.cut(x, draw.corners)
        for colour, parameters in zip(self.colour, draw.colour, strict=True):
            x = colour.apply(x, parameters)
        if self.mean is not None and self.std is not None:
            return adjust.normalise(x, self.mean, self.std, out)
        return x if out is None else out.copy_(x)

    def read(self, chunk: Chunk, placement: Placement) -> Tensor:
        """The view before its colours change, in whichever way is fastest; it may be written to if they do."""
        canvas, sides = chunk.canvas, chunk.canvas.spatial
        shape = self.shape(len(sides))
        if canvas.uniform and sides == shape and self.geometry.is_whole(sides):
            return chunk.pixels.clone() if self.colour else chunk.pixels
        if self.reads_bytes(canvas):
            return read_bytes(canvas.pixels, placement, shape).mul_(1 / 255)
        if not self.geometry.upright:
            return read_affine(chunk.pixels, canvas.extent, placement, shape)
        if canvas.pixels.device.type != "cpu" or max(*sides, *shape) <= SMALL:
            return read_box(chunk.pixels, canvas.extent, placement, shape)
        return read_taps(chunk.pixels, box_taps(canvas.extent, placement, shape))

    def reads_bytes(self, canvas: Canvas) -> bool:
        """Whether it is read in whole numbers: of images whose values are all that a byte can be, this loses little."""
        pixels, full_range = canvas.pixels, canvas.value_range == (0, 255)
        images = pixels.dtype == torch.uint8 and pixels.ndim == 4 and full_range
        return images and pixels.device.type == "cpu" and self.geometry.of_whole_pixels

    def check(self, channels: int, dims: int) -> None:
        """Raise a `ValueError` unless mean and std suit images of `channels`, and tiles their axes."""
        if self.tiles is not None and len(self.tiles.grid) != dims:
            raise ValueError(
                f"images have {dims} axes and the grid of tiles {self.tiles.grid}: give one number for each"
            )
        if self.mean is not None and len(self.mean) != channels:
            raise ValueError(
                f"images have {channels} channels, mean and std have {len(self.mean)}: give one value for each channel"
            )

    def shape(self, dims: int) -> tuple[int, ...]:
        """The view's size along each of `dims` axes, before it is cut into tiles."""
        return each_axis(self.size, dims)

    def made(self, dims: int) -> tuple[int, ...]:
        """The size of what it gives: its own, or a tile's."""
        return self.shape(dims) if self.tiles is None else self.tiles.shape


@dataclass(frozen=True)
class Draw:
    """The parameters of one view of `n` images; colours have a row for each image, or for each tile."""

    placement: Placement
    colour: list[Parameters]
    corners: Tensor | None = None

    def __getitem__(self, part: slice) -> Draw:
        count = 1 if self.corners is None else self.corners.shape[1]
        each = slice(part.start * count, part.stop * count)
        corners = None if self.corners is None else self.corners[part]
        return Draw(self.placement[part], [rows(parameters, each) for parameters in self.colour], corners)


@dataclass(frozen=True)
class ViewSet:
    """Views of the same images: `view_set(canvases, generator)` makes a `Batch`.

    views: how each view is made. draws: by name, what else is drawn for each image, such as which patches are
    visible: whatever answers `sample(n, generator)`.
    `a + b` has the views and draws of both.
    """

    views: tuple[View, ...]
    draws: Mapping[str, Sampler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        leaders = zip(self.views, self.leaders, strict=True)
        views = tuple(replace(view, geometry=self.views[leader].geometry) for view, leader in leaders)
        object.__setattr__(self, "views", views)

    @property
    def leaders(self) -> list[int]:
        """The number of the view whose place each view has: its own, unless it follows another one."""
        found: list[int] = []
        for number, view in enumerate(self.views):
            before = number + (view.follows or 0)
            if view.follows is not None and not 0 <= before < number:
                raise ValueError(
                    f"view {number} follows the one {view.follows} from it, and there are {number} before it: "
                    f"follows is -1 for the view before, at most -{number}"
                    if number
                    else f"the first view cannot follow another: follows is {view.follows}"
                )
            found.append(number if view.follows is None else found[before])
        return found

    @property
    def sizes(self) -> list[Size]:
        """The size of each view of the batch."""
        return [view.size if view.tiles is None else view.tiles.size for view in self.origins]

    @property
    def origins(self) -> list[View]:
        """How each view of the batch is made."""
        return [view for view in self.views for _ in range(view.count) for _ in view.turns]

    def normalised(self, mean: tuple[float, ...], std: tuple[float, ...]) -> ViewSet:
        """The same views with `mean` and `std` of each channel taken out, except raw ones and those with their own."""
        mean, std = tuple(float(m) for m in mean), tuple(float(s) for s in std)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean {mean} and std {std} must have one value for each channel, and std be above 0")
        views = (replace(view, mean=mean, std=std) if view.takes_mean else view for view in self.views)
        return replace(self, views=tuple(views))

    def __add__(self, other: ViewSet) -> ViewSet:
        return ViewSet((*self.views, *other.views), {**self.draws, **other.draws})

    def __call__(self, canvases: list[Canvas], generator: torch.Generator, seed: int = 0) -> Batch:
        """Views of all images of `canvases`, in their order, float32 on their device.

        Parameters are drawn on the generator's device and moved; give a CPU generator, since
        the host reads a few of them. seed: the batch's `shared_seed`, for what methods draw by themselves.
        """
        with torch.no_grad(), torch.autocast(canvases[0].pixels.device.type, enabled=False):
            return self._make(canvases, generator, seed)

    def _make(self, canvases: list[Canvas], generator: torch.Generator, seed: int) -> Batch:
        first = canvases[0]
        extent = torch.cat([canvas.extent for canvas in canvases])
        n, channels, dims = len(extent), first.pixels.shape[1], extent.shape[1]
        for view in self.views:
            view.check(channels, dims)
        parameters: list[Draw] = []
        for number, (view, leader) in enumerate(zip(self.views, self.leaders, strict=True)):
            place = None if leader == number else parameters[leader].placement
            parameters.append(view.sample(n, generator, extent, place))
        drawn = {name: draw.sample(n, generator) for name, draw in self.draws.items()}
        made = [torch.empty((view.count, n, channels, *view.made(dims)), device=extent.device) for view in self.views]

        values = [channels * self._most_pixels(canvas) for canvas in canvases]
        for canvas, part in cut(canvases, values):
            chunk = Chunk(canvas)
            for view, draw, out in zip(self.views, parameters, made, strict=True):
                if view.count == 1:
                    view.apply(chunk, draw[part], out[0, part])
                else:
                    tiles = view.apply(chunk, draw[part])
                    out[:, part] = tiles.unflatten(0, (-1, view.count)).transpose(0, 1)
        views = [
            torch.rot90(tile, turn, (-2, -1)).contiguous() if turn else tile
            for view, out in zip(self.views, made, strict=True)
            for tile in out
            for turn in view.turns
        ]
        index = torch.cat([canvas.index for canvas in canvases])
        metadata = {name: torch.cat([canvas.metadata[name] for canvas in canvases]) for name in first.metadata}
        drawn = {name: each_part(draw, lambda part: part.to(extent.device)) for name, draw in drawn.items()}
        places = [
            place
            for view, draw in zip(self.views, parameters, strict=True)
            for tile in tile_places(view, draw, dims)
            for place in (turned(tile, turn) for turn in view.turns)
        ]
        return Batch(views, index, metadata, drawn, places, seed)

    def _most_pixels(self, canvas: Canvas) -> int:
        """Of an image in single precision, on its way from a canvas to the views."""
        dims, as_bytes = len(canvas.spatial), all(view.reads_bytes(canvas) for view in self.views)
        shapes = [math.prod(view.shape(dims)) for view in self.views]
        tiles = [view.count * math.prod(view.made(dims)) for view in self.views]
        return max(0 if as_bytes else math.prod(canvas.spatial), *shapes, *tiles)


def tile_places(view: View, draw: Draw, dims: int) -> list[Placement]:
    """Where each tile of a view lies, or the view itself."""
    place = draw.placement
    if view.tiles is None or draw.corners is None:
        return [place]
    side, tile = (place.centre.new_tensor(sizes) for sizes in (view.shape(dims), view.tiles.shape))
    middle = (2 * draw.corners.to(place.centre) + tile) / side - 1
    centres = place.centre[:, None] + (place.axes[:, None] @ middle[..., None]).squeeze(-1)
    return [Placement(centre, place.axes * (tile / side)) for centre in centres.unbind(1)]


def turned(place: Placement, turn: int) -> Placement:
    """Where a view lies that was turned by quarter turns in the plane of its last two axes, as `torch.rot90` turns."""
    if turn % 4 == 0:
        return place
    quarter = torch.eye(place.centre.shape[1], device=place.axes.device, dtype=place.axes.dtype)
    quarter[-2:, -2:] = quarter.new_tensor([[0.0, 1.0], [-1.0, 0.0]])
    return Placement(place.centre, place.axes @ torch.linalg.matrix_power(quarter, turn % 4))


def two_views(size: Size, augmentation: Augmentation | None = None) -> ViewSet:
    """Two random views of each image."""
    augmentation = augmentation or Augmentation()
    return ViewSet(tuple(random_view(size, augmentation.of_view(i)) for i in range(2)))


def multi_crop(size: Size, augmentation: Augmentation | None = None) -> ViewSet:
    """Global crops at `size`, then local crops at `augmentation.local_size`; without those `scale` holds.

    Caron et al.: SwAV (NeurIPS 2020), section 3.3. A pair of probabilities is counted over all
    crops: the first global crop, then the rest.
    """
    augmentation = augmentation or Augmentation()
    local = augmentation.local_size or small_size(size)
    several, many = augmentation.crops
    wide = replace(augmentation, scale=augmentation.global_scale) if many else augmentation
    narrow = replace(augmentation, scale=augmentation.local_scale)
    views = [random_view(size, wide.of_view(i)) for i in range(several)]
    views += [random_view(local, narrow.of_view(several + i)) for i in range(many)]
    return ViewSet(tuple(views))


def small_size(size: Size) -> Size:
    """Of a small crop beside large ones of `size`: 96/224 of it, a multiple of 4 pixels."""
    if isinstance(size, int):
        return max(4, 4 * round(size * 96 / 224 / 4))
    return alike([max(4, 4 * round(side * 96 / 224 / 4)) for side in size])


def original(size: Size, *, raw: bool = False) -> ViewSet:
    """The image as evaluation sees it: resized undistorted until its short side fits, centre crop."""
    aspect = None if isinstance(size, int) else tuple(float(side) for side in size)
    return ViewSet((View(size, Geometry(CentreCrop(aspect)), raw=raw),))


def whole(size: Size) -> ViewSet:
    """The whole image, distorted where its shape is another than the view's: dense evaluation wants every pixel."""
    return ViewSet((View(size, Geometry(Whole())),))


def rotations(size: Size, augmentation: Augmentation | None = None) -> ViewSet:
    """One random view turned by 0, 90, 180 and 270 degrees, as four views.

    Gidaris, Singh, Komodakis: RotNet (ICLR 2018). Turning comes last: a flip after the turn
    would make 90 and 270 degrees the same class for data that a mirror leaves alike.
    """
    view = random_view(size, (augmentation or Augmentation()).of_view(0))
    return ViewSet((replace(view, turns=(0, 1, 2, 3)),))


def jigsaw(size: Size, augmentation: Augmentation | None = None, *, grid: int = 3, dims: int = 2) -> ViewSet:
    """The shuffled tiles of one random view of `size` pixels: from each of `grid` cells along an axis
    a tile at a random place, as views in an order of its own for each image.

    Noroozi, Favaro: Jigsaw puzzles (ECCV 2016); a tile has 64/85 of a cell, a multiple of 4 pixels,
    so that edges do not tell which tiles are neighbours.
    """
    cells = [side // grid for side in each_axis(size, dims)]
    tile = [min(cell, max(4, 4 * round(cell * 64 / 85 / 4))) for cell in cells]
    jitter = [cell - side for cell, side in zip(cells, tile, strict=True)]
    return _cut(
        Tiles(alike(tile), alike(cells), (grid,) * len(cells), jitter=alike(jitter), shuffle=True), augmentation
    )


def patches(size: Size, augmentation: Augmentation | None = None, *, tile: int, stride: int, dims: int = 2) -> ViewSet:
    """All tiles `stride` pixels apart of one random view of at most `size` pixels, as views in their order.

    Hénaff et al.: CPC v2 (ICML 2020), with patches of 80 pixels, 36 apart, in 260.
    """
    sides = each_axis(size, dims)
    if stride < 1 or not 1 <= tile <= min(sides):
        raise ValueError(f"tiles of {tile} pixels, {stride} apart, do not fit {size} pixels: lower tile or stride")
    return _cut(Tiles(tile, stride, tuple((side - tile) // stride + 1 for side in sides)), augmentation)


def _cut(tiles: Tiles, augmentation: Augmentation | None) -> ViewSet:
    view = random_view(tiles.span, (augmentation or Augmentation()).of_view(0))
    return ViewSet((replace(view, tiles=tiles),))


def random_view(size: Size, augmentation: Augmentation) -> View:
    """One random view by the settings of one view; large ones of whole pixels, which a CPU reads faster."""
    whole = max(each_axis(size)) > SMALL
    crop: Crop = RandomResizedCrop(augmentation.scale, augmentation.ratio, whole)
    steps: list[Step] = []
    if augmentation.rotate or augmentation.shift:
        steps.append(Affine(augmentation.rotate, augmentation.shift))
    if augmentation.flip:
        steps.append(Flip(_one(augmentation.flip)))
    return View(size, Geometry(crop, tuple(steps)), tuple(_colours(augmentation)))


def _colours(augmentation: Augmentation) -> list[Colour]:
    chain: list[tuple[float, Colour]] = [
        (_one(augmentation.jitter_p), ColourJitter(*augmentation.jitter, p=_one(augmentation.jitter_p))),
        (_one(augmentation.grayscale), Grayscale(_one(augmentation.grayscale))),
        (_one(augmentation.blur), GaussianBlur(_one(augmentation.blur), augmentation.blur_sigma)),
        (_one(augmentation.solarize), Solarize(_one(augmentation.solarize), augmentation.solarize_threshold)),
        (_one(augmentation.noise), Noise(_one(augmentation.noise), augmentation.noise_sigma)),
        (_one(augmentation.cutout), Cutout(_one(augmentation.cutout), augmentation.cutout_scale)),
    ]
    return [colour for p, colour in chain if p > 0]


def _one(probability: float | tuple[float, float]) -> float:
    assert not isinstance(probability, tuple), "settings of one view have one value for each probability"
    return probability
