"""A detector trained on the encoder."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from selfsight.data import Source
from selfsight.data.coco import masks_of
from selfsight.data.sizes import each_axis
from selfsight.probes.features import Reader
from selfsight.progress import track
from selfsight.protocols._detector import build_detector, mirrored, unit
from selfsight.protocols._training import fit, layer_groups, plain_groups, seeded
from selfsight.protocols.base import Answer, ObjectTask, Protocol, Trial

Target = dict[str, Tensor]


@dataclass(frozen=True)
class Detection(Protocol):
    """Mask R-CNN on the encoder, trained with it or on it frozen; average precision of boxes and masks as COCO's.

    He et al.: Mask R-CNN (ICCV 2017), of torchvision, with a feature pyramid; a plain ViT has the simple pyramid of
    ViTDet (Li et al., ECCV 2022). Annotations are in COCO's form; without masks the detector is Faster R-CNN. AdamW,
    rates that decay from layer to layer, mirror images. The last epoch counts.

    epochs: how often every training image is seen.
    batch_size: images a step.
    lr: peak rate.
    layer_decay: of the rate from a layer of the encoder to the one below, 1 for none.
    weight_decay: of AdamW.
    warmup: the share of steps in which the rate rises.
    size: pixels of the short side that images are resized to; 0 for the encoder's.
    frozen: leave the encoder as it is and train the rest.
    channels: of the feature pyramid and the heads; torchvision's are 256.
    flip: how often images are mirrored.
    masks: whether masks are learned, too, where all objects have one.
    annotations: the JSON of training images and that of test images, where they do not lie as COCO's do.
    """

    wants_label: ClassVar[bool] = False
    wants_features: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    epochs: int = 25
    batch_size: int = 4
    lr: float = 2e-4
    layer_decay: float = 0.75
    weight_decay: float = 0.05
    warmup: float = 0.1
    size: int = 0
    frozen: bool = False
    channels: int = 256
    flip: float = 0.5
    masks: bool = True
    annotations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.lr <= 0 or self.channels < 1 or self.size < 0:
            raise ValueError(
                f"detection wants an epoch, an image a batch, a channel and a rate above 0, not epochs {self.epochs}, "
                f"batch_size {self.batch_size}, channels {self.channels}, size {self.size} and lr {self.lr}"
            )
        if len(self.annotations) not in (0, 2):
            raise ValueError(
                f"detection.annotations are two, of training and of test images, not {len(self.annotations)}"
            )

    def task(self, trial: Trial) -> ObjectTask:
        """What is where in each image."""
        try:
            import pycocotools.cocoeval  # noqa: F401
        except ImportError as error:
            raise ValueError('detection wants a package more: pip install "selfsight[dense]"') from error
        return trial.objects(self.annotations, self.masks)

    def __call__(self, task: ObjectTask) -> Iterator[Answer]:
        for row, encoder, reader in task.encoders(trained=not self.frozen):
            train, test = task.sources(reader)
            size = self.size or min(each_axis(encoder.spec.image_size, 2))
            with seeded(task.seed):
                model = build_detector(
                    copy.deepcopy(encoder), len(task.names), size, self.channels, task.masked, self.frozen
                ).to(reader.device)
                model = self.train(model, task, train, row)
            yield task.answer(row, list(self.found(model, task, test, reader)))

    def train(self, model: Any, task: ObjectTask, source: Source, what: str) -> nn.Module:
        """The model after the last epoch, in evaluation mode."""
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(task.seed)
        size = min(self.batch_size, len(source))
        each = len(source) // size

        def batches() -> Iterator[list[tuple[Tensor, Target]]]:
            for _ in range(self.epochs):
                order = torch.randperm(len(source), generator=generator)[: each * size]
                for rows in order.split(size):
                    yield [self.example(task, source, row, generator) for row in rows.tolist()]

        def loss(batch: list[tuple[Tensor, Target]]) -> Tensor:
            images = [image.to(device) for image, _ in batch]
            targets = [{name: value.to(device) for name, value in target.items()} for _, target in batch]
            return torch.stack(list(model(images, targets).values())).sum()

        backbone = model.backbone
        groups = plain_groups(
            backbone.levels.steps, backbone.pyramid, model.rpn, model.roi_heads, weight_decay=self.weight_decay
        )
        if not self.frozen:
            groups += layer_groups(backbone.levels.encoder, self.weight_decay, self.layer_decay)
        return fit(
            model, groups, batches(), self.epochs * each, loss,
            lr=self.lr, warmup=self.warmup, half=False, what=f"detection, {what}",
        )  # fmt: skip

    def example(self, task: ObjectTask, source: Source, row: int, generator: torch.Generator) -> tuple[Tensor, Target]:
        """A training image in [0, 1] and what is in it, mirrored or not."""
        image, objects = unit(source.read(row), source.value_range), task.train_objects[row]
        rows = (~objects.crowd).nonzero().flatten().tolist()
        target = {
            "boxes": objects.boxes[rows],
            "labels": torch.tensor([task.names.index(objects.names[one]) + 1 for one in rows], dtype=torch.int64),
        }
        if task.masked:
            target["masks"] = masks_of([objects.segments[one] for one in rows], *image.shape[1:])
        if float(torch.rand((), generator=generator)) < self.flip:
            return mirrored(image, target)
        return image, target

    @torch.no_grad()
    def found(self, model: nn.Module, task: ObjectTask, source: Source, reader: Reader) -> Iterator[dict[str, Any]]:
        """Detections in test images, in COCO's form, `image_id` from 1 in the order of the images."""
        from pycocotools import mask

        for row in track(range(len(source)), len(source), "detection, test images"):
            image = unit(source.read(row), source.value_range).to(reader.device)
            (seen,) = model([image])
            for place, (left, top, right, bottom) in enumerate(seen["boxes"].tolist()):
                one = {
                    "image_id": row + 1,
                    "category_id": int(seen["labels"][place]),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "score": float(seen["scores"][place]),
                }
                if task.masked:
                    bits = (seen["masks"][place, 0] > 0.5).to("cpu", torch.uint8).numpy()
                    one["segmentation"] = mask.encode(bits.copy(order="F"))
                yield one
