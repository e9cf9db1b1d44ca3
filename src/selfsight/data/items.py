"""What an item of a data set holds: an image in whatever form, and a label."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.data.arrays import as_channels_first, channel_axis
from selfsight.data.decoding import image_to_tensor
from selfsight.data.kinds import ImageFormat, common_format, kind_of, say_kinds

log = logging.getLogger(__name__)

IMAGE_KEYS = ("image", "images", "img", "imgs", "pixel_values", "x", "picture", "input", "data")
LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class", "category")
MOST_ODD = 0.1  # of the images that are looked at
GREY = (0.299, 0.587, 0.114)  # as PIL weighs red, green and blue

NO_VIEWS = "give the data without the transform that makes views: selfsight makes them itself"


def find_key(keys: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the known names among keys, whatever their capitals."""
    named = {str(key).lower(): key for key in reversed(keys)}
    return next((named[name] for name in known if name in named), None)


def label_key(keys: Sequence[str]) -> str | None:
    """The key of the label: one of the known names, else the only one that ends like one, such as `fine_label`.

    Raises:
        ValueError: where several may be meant.
    """
    found = find_key(keys, LABEL_KEYS)
    ends = [key for key in keys if str(key).lower().endswith(("label", "labels"))]
    if found is None and len(ends) > 1:
        raise ValueError(f"there are several labels, {', '.join(map(repr, ends))}: name one with label=")
    return found or next(iter(ends), None)


def parts_of_item(item: Any, label: str | None = None) -> tuple[Any, Any]:
    """The image and the label of an item: an image, `(image, label, ...)`, or a dictionary with both.

    Raises:
        ValueError: where it holds none, or several views of one.
    """
    if isinstance(item, Mapping):
        keys = list(item)
        image = find_key(keys, IMAGE_KEYS) or next(
            (key for key in keys if isinstance(item[key], Image.Image) and key != label), None
        )
        if image is None:
            raise ValueError(f"an item holds {', '.join(map(repr, keys))}, none of which is called 'image': rename it")
        if label is not None and label not in item:
            raise ValueError(f"an item has no {label!r} but {', '.join(map(repr, keys))}: name the label with label=")
        return one_image(item[image]), item.get(label_key(keys) if label is None else label)
    if label is not None:
        raise ValueError(f"items are no dictionaries, and have nothing called {label!r}: leave label= out")
    if isinstance(item, tuple | list) and not is_nested(item):
        if len(item) == 0:
            raise ValueError("an item is empty: give an image, or an image and a label")
        if len(item) > 1 and is_image(item[1]) and same_kind(item[0], item[1]):
            raise ValueError(f"an item holds {len(item)} images, as of two views or of an image and a mask: {NO_VIEWS}")
        return one_image(item[0]), item[1] if len(item) > 1 else None
    return one_image(item), None


def one_image(image: Any) -> Any:
    """An image as it is; nested lists of numbers as an array. Raises `ValueError` for whatever is none."""
    if image is None:
        raise ValueError("it is None")
    if is_nested(image):
        try:
            image = np.asarray(image)
        except ValueError as error:
            raise ValueError(f"it is a list of lists of different lengths: {error}") from error
    if isinstance(image, Mapping | list | tuple):
        raise ValueError(f"an item holds a {type(image).__name__} of {len(image)} in place of an image: {NO_VIEWS}")
    if not is_image(image):
        hint = "; for files, give a list of their paths" if isinstance(image, str | bytes) else ""
        raise ValueError(f"an item begins with {type(image).__name__} {str(image)[:40]!r}, which is no image{hint}")
    return image


def is_nested(value: Any) -> bool:
    """Whether a value is rows of numbers in lists."""
    while isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        value = value[0]
        if isinstance(value, list | tuple) and value and isinstance(value[0], int | float | np.number):
            return True
    return False


def is_image(value: Any) -> bool:
    """Whether a value is a PIL image, or an array or tensor of two axes or more."""
    return isinstance(value, Image.Image) or (isinstance(value, np.ndarray | Tensor) and value.ndim >= 2)


def same_kind(a: Any, b: Any) -> bool:
    """Whether two images may be views of one: of one type, mode or count of axes; a mask is of another."""
    if isinstance(a, Image.Image) and isinstance(b, Image.Image):
        return a.mode == b.mode
    if isinstance(a, Image.Image) or isinstance(b, Image.Image):
        return False
    return type(a) is type(b) and a.ndim == b.ndim and a.dtype == b.dtype


def plain_label(value: Any) -> Any:
    """A label as a Python value, or as a list of several; None where it is neither, such as a mask or boxes."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.generic | np.ndarray):
        value = value.item() if value.size == 1 else value.tolist()
    if isinstance(value, list | tuple):
        flat = all(isinstance(one, int | float | np.number) for one in value)
        return [float(one) for one in value] if flat and value else None
    return value if isinstance(value, str | bytes | int | float | np.generic) else None


@dataclass(frozen=True)
class Common:
    """What all images of a data set are brought to.

    pillow: the format of PIL images, None where none was seen. given: how many channels arrays are said to have.
    """

    channels: int
    dtype: torch.dtype
    pillow: ImageFormat | None
    given: int | None

    def tensor(self, image: Any, of: str) -> Tensor:
        """An image as `(C, *S)` in this format.

        A grey one is repeated, a coloured one weighed, an alpha channel left out or opaque; whole numbers are taken
        for others of them as long as they fit. Raises `ValueError` for any other.
        """
        pixels = as_tensor(image, self.pillow or ImageFormat(), self.given, of)
        return with_channels(with_type(pixels, self.dtype), self.channels)


def common_of(images: Sequence[Any], channels: int | None, of: str) -> Common:
    """The format of most of some images.

    Raises:
        ValueError: where more than a tenth of them cannot be brought to it.
    """
    pictures = [image for image in images if isinstance(image, Image.Image)]
    kinds = [kind_of(image) for image in pictures]
    pillow = common_format(kinds, channels) if pictures else None
    if pillow is not None:
        say_kinds(of, kinds, pillow, channels is None)
    tensors = [as_tensor(image, pillow or ImageFormat(), channels, of) for image in images]
    counts = Counter(len(pixels) for pixels in tensors)
    count = channels or (3 if len(counts) > 1 and set(counts) <= {1, 3, 4} else counts.most_common(1)[0][0])
    dtype = Counter(pixels.dtype for pixels in tensors).most_common(1)[0][0]
    common = Common(count, dtype, pillow, channels)
    odd = 0
    for image in images:
        try:
            common.tensor(image, of)
        except ValueError:
            odd += 1
    if odd > MOST_ODD * len(images):
        kinds = Counter(f"{len(pixels)} channels of {str(pixels.dtype).removeprefix('torch.')}" for pixels in tensors)
        raise ValueError(
            f"images of {of} are of kinds that do not go together, "
            f"{', '.join(f'{kind} ({number})' for kind, number in kinds.most_common())}: bring all to one"
        )
    if len(counts) > 1:
        log.info(
            "images of %s have %s channels, and are read with %d", of, " or ".join(map(str, sorted(counts))), count
        )
    return common


def as_tensor(image: Any, form: ImageFormat, channels: int | None, of: str) -> Tensor:
    """An image in its own type as `(C, *S)`, a PIL one in `form`."""
    if isinstance(image, Image.Image):
        return image_to_tensor(image, form)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        if image.is_complex():
            raise ValueError(f"tensors of {image.dtype} are not images: take abs() of {of}")
        image = image.float() if image.dtype == torch.bfloat16 else image
    asked = channels if channels in image.shape or image.ndim > 3 else None  # else its own are brought to as many
    return as_channels_first(image, channel_axis(image.shape, asked, of=of))


def with_type(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels in another type of the same sort of numbers."""
    if pixels.dtype == dtype:
        return pixels
    named = [str(one).removeprefix("torch.") for one in (pixels.dtype, dtype)]
    whole = [not one.is_floating_point and one != torch.bool for one in (pixels.dtype, dtype)]
    if pixels.dtype.is_floating_point and dtype.is_floating_point:
        return pixels.to(dtype)
    wide = pixels.dtype not in (torch.uint8, torch.uint16)  # whose own range means nothing
    if all(whole) and wide:
        limits = torch.iinfo(dtype)
        if limits.min <= int(pixels.min()) and int(pixels.max()) <= limits.max:
            return pixels.to(dtype)
    raise ValueError(f"it is of {named[0]}, and the others of {named[1]}")


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """Pixels `(C, *S)` with another number of channels."""
    count = len(pixels)
    if count == channels:
        return pixels
    if (count, channels) in ((4, 3), (2, 1)):
        return pixels[:channels]
    if (count, channels) == (1, 3):
        return pixels.expand(3, *pixels.shape[1:])
    if count in (3, 4) and channels == 1:
        weights = torch.tensor(GREY).reshape(3, *[1] * (pixels.ndim - 1))
        grey = (pixels[:3].float() * weights).sum(0, keepdim=True)
        return (grey if pixels.is_floating_point() else grey.round()).to(pixels.dtype)
    raise ValueError(f"it has {count} channels, and the others {channels}")
