"""Features of all images of a source: one pass over the data for any number of functions."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.data import BadImages, Canvas, Lane, Source, open_lane
from selfsight.data.sizes import checked_size, each_axis
from selfsight.nets import EncoderSpec
from selfsight.precision import choose_precision
from selfsight.probes.options import check_numbers
from selfsight.progress import track
from selfsight.views import ViewSet, original
from selfsight.views.batch import image_layout
from selfsight.views.view_sets import whole

log = logging.getLogger(__name__)

PIXEL_SIDE = 32

Function = Callable[[Tensor], Tensor]


@torch.no_grad()
def extract_features(
    functions: Mapping[str, Function],
    lane: Lane,
    view_set: ViewSet,
    device: torch.device | str = "cpu",
    *,
    precision: str = "32",
) -> tuple[dict[str, Tensor], Tensor]:
    """Features by name, each `(N, ...)` float32 on the CPU, and the index `(N,)` of each row in its source.

    functions: from a view `(B, C, *S)` to features `(B, ...)`; modules are expected in evaluation mode.
    lane: batches of canvases, in any order; an image that cannot be read has no row.
    view_set: one view of each image, normalised, such as `original(size)`.
    precision: "32", or "bf16" for autocast.
    Rows are in the order of the index.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in functions}
    indices: list[Tensor] = []
    for index, features in feature_batches(functions, lane, view_set, device, precision=precision):
        indices.append(index)
        for name, some in features.items():
            parts[name].append(some.cpu())
    if not indices:
        raise ValueError("no image could be read: the log names them")
    index, order = torch.cat(indices).sort()
    return {name: torch.cat(tensors)[order] for name, tensors in parts.items()}, index


@torch.no_grad()
def feature_batches(
    functions: Mapping[str, Function],
    lane: Lane,
    view_set: ViewSet,
    device: torch.device | str = "cpu",
    *,
    precision: str = "32",
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Of a batch after the other the index `(B,)` of its images, and features by name, float32; see
    `extract_features`."""
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    for canvases in track(lane, lane.samples, f"features of {lane.source.name}", size=images_on):
        batch = view_set([canvas.to(device, non_blocking=True) for canvas in canvases], generator)
        view = image_layout(batch.views[0])
        found = {}
        for name, function in functions.items():
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                found[name] = function(view).float()
        yield batch.index.cpu(), found


def images_on(canvases: list[Canvas]) -> int:
    """How many images a batch holds."""
    return sum(map(len, canvases))


def pixels(view: Tensor) -> Tensor:
    """The pixels of a view `(B, C, *S)` as features `(B, D)`, averaged down to at most 32 a side."""
    sides: Any = tuple(min(side, PIXEL_SIDE) for side in view.shape[2:])
    pool = F.adaptive_avg_pool2d if len(sides) == 2 else F.adaptive_avg_pool3d
    return pool(view, sides).flatten(1)


class Reader:
    """Reads a source as an encoder wants it: its size, its normalisation, un-augmented.

    `reader(functions, source)` answers features by name and the index of each row.

    precision: "32", "bf16", or "auto", bf16 where the device computes it; the attribute says which.
    max_bad: how many unreadable images are borne (`BadImages`).
    """

    def __init__(
        self,
        spec: EncoderSpec,
        image_size: int | Sequence[int] | None = None,
        *,
        batch_size: int = 256,
        workers: int | None = None,
        device: str | torch.device = "auto",
        precision: str = "32",
        max_bad: int | float | None = None,
    ):
        check_numbers(batch_size=batch_size, workers=workers)
        self.spec = spec
        self.size = spec.image_size if image_size is None else checked_size(image_size)
        self.view_set = original(self.size).normalised(spec.mean, spec.std)
        self.batch_size = batch_size
        self.workers = workers
        self.device = find_device(device)
        self.precision = choose_precision(precision, "gpu" if self.device.type == "cuda" else "cpu")
        self.max_bad = max_bad
        if each_axis(self.size, spec.dims) != spec.size:
            log.info("images are read at %s px, the encoder is for %s px", self.size, spec.image_size)

    @property
    def key(self) -> str:
        """All that decides what is seen of an image."""
        spec = self.spec
        return f"{self.size} {spec.channels} {spec.mean} {spec.std} {spec.value_range} {self.precision}"

    @torch.no_grad()
    def shapes(self, functions: Mapping[str, Function]) -> dict[str, tuple[int, ...]]:
        """The shape of one image's features by name, seen by a blank image.

        Raises:
            ValueError: where a function cannot take images of this size and these channels.
        """
        blank = torch.zeros(1, self.spec.channels, *each_axis(self.size, self.spec.dims), device=self.device)
        found = {}
        for name, function in functions.items():
            try:
                found[name] = tuple(self._placed(function)(blank).shape[1:])
            except (RuntimeError, AssertionError) as error:  # torch's and timm's, for sizes that do not fit
                shape = " x ".join(map(str, blank.shape[1:]))
                raise ValueError(f"the encoder {self.spec.name!r} cannot take images of {shape}: {error}") from error
        return found

    def _placed(self, function: Function) -> Function:
        return function.to(self.device) if isinstance(function, nn.Module) else function

    def __call__(self, functions: Mapping[str, Function], source: Source) -> tuple[dict[str, Tensor], Tensor]:
        lane = self._lane(functions, source)
        return extract_features(functions, lane, self.view_set, self.device, precision=self.precision)

    def batches(self, functions: Mapping[str, Function], source: Source) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The index `(B,)` and the features of a batch after the other, in any order, without keeping them."""
        return feature_batches(
            functions, self._lane(functions, source), self.view_set, self.device, precision=self.precision
        )

    def of_whole_images(self) -> Reader:
        """The same, of whole images: distorted where their shape is another, and not cropped."""
        other = copy.copy(self)
        other.view_set = whole(self.size).normalised(self.spec.mean, self.spec.std)
        return other

    def _lane(self, functions: Mapping[str, Function], source: Source) -> Lane:
        for function in functions.values():
            self._placed(function)
        return open_lane(
            source,
            self.batch_size,
            view_size=max(each_axis(self.size)),
            device=self.device,
            workers=self.workers,
            shuffle=False,
            drop_last=False,
            bad=BadImages(self.max_bad),
        )


def check_reading(
    *,
    precision: str,
    devices: str | torch.device,
    max_bad: int | float | None,
    image_size: Any,
    **numbers: int | None,
) -> None:
    """Raise a `ValueError` for what cannot be asked of a `Reader`, before there is anything to read."""
    check_numbers(**numbers)
    if image_size is not None:
        checked_size(image_size)
    choose_precision(precision, "cpu")
    find_device(devices)
    BadImages(max_bad)


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name; "auto" is the first GPU where there is one."""
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, torch.device) and not re.fullmatch(r"cpu|gpu|cuda(:\d+)?", str(name)):
        raise ValueError(f"unknown devices {name!r}: use auto, cpu, gpu, or one GPU such as cuda:1")
    device = torch.device("cuda" if isinstance(name, str) and name == "gpu" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"devices={str(name)!r}, but torch sees {torch.cuda.device_count()} GPUs here: use devices='cpu'"
        )
    return device
