"""The size at which a source's images are looked at."""

from __future__ import annotations

from collections.abc import Iterator

from selfsight.data.decoding import UnreadableImage
from selfsight.data.sources import Source, seeded_sample

LARGEST_NATIVE = 96
USUAL = 224
LOOKED_AT = 64


def choose_size(source: Source, image_size: int | None = None) -> int:
    """`image_size`, or the images' own where all look alike and have at most 96 px, else 224."""
    if image_size is not None:
        if image_size < 1:
            raise ValueError(f"image_size is a number of pixels and at least 1, not {image_size}")
        return image_size
    shapes = set(readable_shapes(source))
    if len(shapes) == 1 and max(shape := shapes.pop()) <= LARGEST_NATIVE:
        return min(shape)
    return USUAL


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
