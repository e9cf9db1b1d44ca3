"""What is asked of the inside of each image: a class of each pixel, or what is where."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from selfsight.data import Source, subset
from selfsight.data.coco import Objects, coco_form, find_annotations, objects_of
from selfsight.data.masks import MaskClasses, mask_cells, mask_classes, state_of
from selfsight.data.values import UnreadableImage
from selfsight.metrics import Boxes, Outcome, Pixels
from selfsight.metrics.boxes import match
from selfsight.metrics.pixels import count_pixels
from selfsight.naming import listed, printable
from selfsight.nets.levels import check_flat_maps
from selfsight.probes.features import Reader
from selfsight.probes.reading import Maps
from selfsight.protocols._tasks import CHANCE, Answer, Task

if TYPE_CHECKING:
    from selfsight.protocols.base import Trial

FEW = 16


@dataclass(frozen=True)
class MaskTask(Task):
    """A class for each pixel; `train` and `test` are 0 for each image with a mask."""

    kind: ClassVar[str] = "pixels"

    classes: MaskClasses = field(kw_only=True)

    @classmethod
    def of(cls, trial: Trial, column: str, classes: int, ignore: Sequence[int]) -> MaskTask:
        """The classes of a trial's masks: see `mask_classes`.

        Raises:
            ValueError: where there are no masks, and for masks that say nothing or hold unknown numbers.
        """
        there = [torch.tensor([path is not None for path, _ in mask_cells(source, column)]).long() - 1
                 for source in (trial.train, trial.test)]  # fmt: skip
        known, lacking = mask_classes(trial.train, trial.test, column, classes, tuple(ignore))
        said = f"test masks show classes that training masks lack, and count as wrong: {listed(lacking)}"
        return cls(
            trial, *there, name=column, names=known.names, classes=known, notes=(said,) if lacking else ()
        )  # fmt: skip

    def known(self, truth: Tensor) -> Tensor:
        return truth >= 0

    def check(self) -> None:
        for _ in self.maps():  # an encoder without any is named
            pass
        for source in self.sources():
            for index in range(min(FEW, len(source))):  # the others are looked at when they are read
                with contextlib.suppress(UnreadableImage):
                    self.mask(source, index)

    @property
    def truth(self) -> str:
        cells = [cell for source in self.sources() for cell in mask_cells(source, self.name)]
        states = [state_of(path) for path, _ in cells if path is not None]
        return hashlib.sha256(str(states).encode()).hexdigest()[:16]

    def mask(self, source: Source, index: int) -> Tensor:
        """Classes `(H, W)` of an image's pixels, -1 where they do not count.

        Raises:
            ValueError: where the mask has another size than its image.
        """
        path, segments = mask_cells(subset(source, [index]), self.name)[0]
        assert path is not None, "images without a mask were left out before"
        mask = self.classes(path, segments)
        if tuple(mask.shape) != source.shape(index):
            raise ValueError(
                f"the mask {printable(path)} has {mask.shape[0]} x {mask.shape[1]} pixels and its image "
                f"{' x '.join(map(str, source.shape(index)))}: give masks of the size of their images"
            )
        return mask

    def maps(self) -> Iterator[tuple[str, Maps, Reader]]:
        """Of each encoder its row, what answers its maps, and how it reads images: whole, if distorted."""
        for row, maps, reader in super().maps():
            yield row, maps, reader.of_whole_images()

    def answer(self, row: str, counts: Sequence[tuple[Tensor, Tensor, Tensor]], **settings: Any) -> Answer:
        """counts: of each test image, see `count_pixels`."""
        hits, predicted, there = (torch.stack(some) for some in zip(*counts, strict=True))
        return self._answer(row, Pixels(hits, predicted, there, self.names), 0, {}, settings)

    def chance(self) -> Outcome:
        """The commonest class of the training images everywhere."""
        train, test = self.sources()
        often = sum(torch.bincount(mask[mask >= 0], minlength=len(self.names)) for mask in self.all_masks(train))
        assert isinstance(often, Tensor)
        counts = [
            count_pixels(torch.full_like(mask, int(often.argmax())), mask, len(self.names))
            for mask in self.all_masks(test)
        ]
        return self.answer(CHANCE, counts).outcome

    def all_masks(self, source: Source) -> Iterator[Tensor]:
        """The mask of each image, in their order."""
        for index in range(len(source)):
            yield self.mask(source, index)


@dataclass(frozen=True)
class ObjectTask(Task):
    """What is where in each image; `train` and `test` are 0 for each image that is annotated.

    masked: whether masks are asked for, beside boxes. state: of the files that annotations come from.
    """

    kind: ClassVar[str] = "objects"

    train_objects: list[Objects] = field(kw_only=True)
    test_objects: list[Objects] = field(kw_only=True)
    masked: bool = field(kw_only=True)
    state: str = field(kw_only=True)

    @classmethod
    def of(cls, trial: Trial, annotations: Sequence[str], masks: bool) -> ObjectTask:
        """The objects of a trial's images.

        annotations: paths of those of training and of test images; by default where COCO has them. masks: whether they
        are asked for, where all objects have one.

        Raises:
            ValueError: where there are no annotations, or training images show nothing.
        """
        sources = (trial.train, trial.test)
        files = [Path(path) for path in annotations] or [find_annotations(source) for source in sources]
        read = [objects_of(source, file) for source, file in zip(sources, files, strict=True)]
        there = [torch.tensor([one is not None for one in found]).long() - 1 for found, _ in read]
        train, test = ([one for one in found if one is not None] for found, _ in read)
        names, tested = ({name for one in some for name in one.names} for some in (train, test))
        if not names:
            raise ValueError(f"{printable(files[0])} has no object in the training images: name other annotations")
        lacking = sorted(tested - names)
        notes = {f"{printable(file)}: {flat} boxes have no area, and are left out": flat
                 for file, (_, flat) in zip(files, read, strict=True)}  # fmt: skip
        said = f"test images show categories that training lacks, which count as missed: {listed(lacking)}"
        notes[said] = len(lacking)
        return cls(
            trial,
            *there,
            name="objects",
            names=[*sorted(names), *lacking],
            notes=tuple(note for note, count in notes.items() if count),
            train_objects=train,
            test_objects=test,
            masked=masks and all(one.masked for one in (*train, *test)),
            state=str([state_of(str(file)) for file in files]),
        )

    def known(self, truth: Tensor) -> Tensor:
        return truth >= 0

    def check(self) -> None:
        for _, encoder, _ in self.encoders():
            check_flat_maps(encoder)

    @property
    def truth(self) -> str:
        return hashlib.sha256(self.state.encode()).hexdigest()[:16]

    def answer(self, row: str, detections: list[dict[str, Any]]) -> Answer:
        """detections: in all test images, in COCO's form; see `match`."""
        _, test = self.sources()
        shapes = [test.shape(index) for index in range(len(test))]
        truth = coco_form(self.test_objects, shapes, self.names, self.masked)
        kinds = ("box", "mask") if self.masked else ("box",)
        outcome = Boxes({kind: match(truth, detections, kind) for kind in kinds}, len(test))
        return self._answer(row, outcome, 0, {}, {})

    def chance(self) -> Outcome:
        """Nothing is found."""
        return self.answer(CHANCE, []).outcome
