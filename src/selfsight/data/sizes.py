"""The size at which a source's images are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

from selfsight.data.decoding import UnreadableImage
from selfsight.data.sources import Source, seeded_sample

Size = int | tuple[int, ...]
"""Pixels a side, or a size for each axis."""

LARGEST_NATIVE = 96
USUAL = 224
LOOKED_AT = 64


def choose_size(source: Source, image_size: int | Sequence[int] | None = None) -> Size:
    """`image_size`, or the images' own where all look alike and have at most 96 px, else 224.

    Raises:
        ValueError: for a size that is no number of pixels, or not one for each axis of the images.
    """
    if image_size is not None:
        size = checked_size(image_size)
        axes = spatial_axes(source)
        if not isinstance(size, int) and len(size) != axes:
            raise ValueError(f"image_size is {size} and {source.name} has {axes} axes: give a number for each")
        return size
    shapes = set(readable_shapes(source))
    if len(shapes) == 1 and max(shape := shapes.pop()) <= LARGEST_NATIVE:
        return min(shape)
    return USUAL


def is_size(value: Any) -> bool:
    """Whether `value` is a number of pixels of at least 1, or two or three such."""
    sides = value if isinstance(value, Sequence) and not isinstance(value, str) and len(value) in (2, 3) else [value]
    return all(isinstance(side, Integral) and not isinstance(side, bool) and int(side) >= 1 for side in sides)


def checked_size(value: Any) -> Size:
    """A size in its simplest form, one number where all axes are alike; a `ValueError` for what is none."""
    if not is_size(value):
        raise ValueError(f"image_size is a number of pixels and at least 1, or one for each axis, not {value!r}")
    return alike([int(side) for side in value]) if isinstance(value, Sequence) else int(value)


def alike(sides: Sequence[int]) -> Size:
    """One number where all sides are alike, else all of them."""
    return sides[0] if len(set(sides)) == 1 else tuple(sides)


def each_axis(size: Size, dims: int = 2) -> tuple[int, ...]:
    """Pixels along each of `dims` axes."""
    return (size,) * dims if isinstance(size, int) else tuple(size)


def readable_shapes(source: Source) -> Iterator[tuple[int, ...]]:
    """Shapes of a sample of the images that can be read."""
    for position in seeded_sample(len(source), LOOKED_AT, seed=0):
        try:
            yield source.shape(int(position))
        except UnreadableImage:
            continue  # counted and named when a lane reads it


def spatial_axes(source: Source) -> int:
    """2 for images, 3 for volumes."""
    return len(next(readable_shapes(source), (0, 0)))


def own_size(source: Source, image_size: Size) -> Size:
    """The size that a net of one's own is built for: of volumes a number for each axis, which says what they are."""
    axes = spatial_axes(source)
    return image_size if axes == 2 else each_axis(image_size, axes)


def check_flat(source: Source, encoder: str) -> None:
    """Refuse volumes for an encoder by name, which takes images."""
    for shape in readable_shapes(source):
        if len(shape) == 3:
            sizes = " x ".join(map(str, shape))
            raise ValueError(
                f"{source.name} has volumes of {sizes}, and {encoder!r} takes images: give a module of your own that "
                f"takes volumes, or channels={shape[0]} if their first axis holds channels"
            )
        break
