"""Views a second: each transform by itself, whole view sets, and lightly's SimCLR transform beside ours."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from lightly.transforms import SimCLRTransform
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset

from selfsight.data.canvas import Canvas, full_canvas
from selfsight.views import Augmentation, Geometry, View, ViewSet, multi_crop, original, rotations, two_views
from selfsight.views.colour import ColourJitter, Cutout, GaussianBlur, Grayscale, Noise, Solarize
from selfsight.views.geometry import Affine, CentreCrop, Flip, RandomResizedCrop
from timing import Rates, alternately, table

TITLE = "Views"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# name: pixels of a view, pixels of a canvas, images a batch, batches a round, probability of blur
SCALES = {"32 px": (32, 32, 256, 8, 0.0), "224 px from 256 px": (224, 256, 32, 12, 0.5)}


def run(options: argparse.Namespace) -> str:
    """All tables of the section."""
    parts = [
        "Views a second, uint8 canvases to normalised float32 views. Canvases are random crops of scikit-learn's two "
        "bundled photographs. At 32 px SimCLR goes without blur, as in its paper; at 224 px with it.",
        "### Beside lightly",
        "lightly works on decoded PIL images one by one, in a `DataLoader` with as many workers as we have threads, "
        "the same augmentation, alternately in one run.",
        table(["SimCLR, two views", "selfsight", "lightly", "ratio"], [beside(s, options) for s in SCALES]),
        "The work itself: milliseconds of processor time for a view, one thread, no `DataLoader`, however busy others "
        "keep the machine.",
        table(["SimCLR, two views", "selfsight", "lightly", "ratio"], [alone(s, options) for s in SCALES]),
        "### View sets",
        table(["view set", *SCALES], per_scale(view_sets, options)),
        "### Transforms",
        "Each upon nothing but the reading of the whole image, on every image.",
        table(["transform", *SCALES], per_scale(transforms, options)),
    ]
    return "\n\n".join(parts)


def beside(scale: str, options: argparse.Namespace) -> list[str]:
    """A row: our views a second, lightly's, and the ratio round by round."""
    size, canvas_size, images, batches, blur = SCALES[scale]
    canvas = photographs(images, canvas_size, options.device)
    ours = two_views(size, Augmentation(blur=blur)).normalised(MEAN, STD)
    theirs = SimCLRTransform(input_size=size, gaussian_blur=blur)
    loader = DataLoader(
        Transformed(canvas, theirs, images * batches),
        batch_size=images,
        num_workers=options.threads,
        persistent_workers=True,
    )
    programs = {"ours": program(ours, canvas, batches), "theirs": lambda: sum(2 * len(views[0]) for views in loader)}
    rates = alternately(programs, options.rounds, options.device)
    return [scale, str(rates["ours"]), str(rates["theirs"]), rates["ours"].over(rates["theirs"])]


def alone(scale: str, options: argparse.Namespace) -> list[str]:
    """A row: milliseconds of processor time that a view costs us and lightly, by one thread, and the ratio."""
    size, canvas_size, images, batches, blur = SCALES[scale]
    canvas = photographs(images, canvas_size, "cpu")
    ours = two_views(size, Augmentation(blur=blur)).normalised(MEAN, STD)
    theirs = Transformed(canvas, SimCLRTransform(input_size=size, gaussian_blur=blur), images)
    programs = {
        "ours": program(ours, canvas, batches),
        "theirs": lambda: sum(len(theirs[i]) for i in range(images)),
    }
    torch.set_num_threads(1)
    rates = alternately(programs, options.rounds, "cpu", time.process_time)
    torch.set_num_threads(options.threads)
    spent = [f"{1e3 / rates[name].median:.3f}" for name in programs]
    return [scale, *spent, rates["ours"].over(rates["theirs"])]


def per_scale(sets: Callable[[int, float], dict[str, ViewSet]], options: argparse.Namespace) -> list[list[str]]:
    """A row for each view set, a column for each scale."""
    columns: list[dict[str, Rates]] = []
    for size, canvas_size, images, _, blur in SCALES.values():
        canvas = photographs(images, canvas_size, options.device)
        programs = {
            name: program(view_set.normalised(MEAN, STD), canvas, 2) for name, view_set in sets(size, blur).items()
        }
        columns.append(alternately(programs, options.rounds, options.device))
    return [[name, *(str(column[name]) for column in columns)] for name in columns[0]]


def view_sets(size: int, blur: float) -> dict[str, ViewSet]:
    """Whole view sets as the papers have them."""
    byol = Augmentation(jitter=(0.4, 0.4, 0.2, 0.1), blur=(min(1.0, 2 * blur), 0.2 * blur), solarize=(0.0, 0.2))
    swav = Augmentation(blur=blur)
    return {
        "SimCLR": two_views(size, Augmentation(blur=blur)),
        "BYOL": two_views(size, byol),
        "multi-crop, 2 + 6": multi_crop(size, swav),
        "rotations": rotations(size, Augmentation(jitter_p=0.0, grayscale=0.0, blur=0.0)),
        "SimCLR, turned by up to 15 degrees": two_views(size, replace(Augmentation(blur=blur), rotate=15.0)),
        "original": original(size),
    }


def transforms(size: int, blur: float) -> dict[str, ViewSet]:
    """View sets of one view with one transform."""
    crop, whole = RandomResizedCrop(), CentreCrop()
    geometries = {
        "whole image": Geometry(whole),
        "random resized crop": Geometry(crop),
        "crop and flip": Geometry(crop, (Flip(),)),
        "rotation": Geometry(whole, (Affine(rotate=15),)),
    }
    colours = {
        "brightness": ColourJitter(0.8, 0, 0, 0, p=1.0),
        "contrast": ColourJitter(0, 0.8, 0, 0, p=1.0),
        "saturation": ColourJitter(0, 0, 0.8, 0, p=1.0),
        "hue": ColourJitter(0, 0, 0, 0.2, p=1.0),
        "grayscale": Grayscale(p=1.0),
        "Gaussian blur": GaussianBlur(p=1.0),
        "solarize": Solarize(p=1.0),
        "noise": Noise(p=1.0),
        "cutout": Cutout(p=1.0),
    }
    sets = {name: ViewSet((View(size, geometry),)) for name, geometry in geometries.items()}
    return sets | {name: ViewSet((View(size, Geometry(whole), (colour,)),)) for name, colour in colours.items()}


def program(view_set: ViewSet, canvas: Canvas, batches: int) -> Callable[[], int]:
    """Make the views of some batches; how many."""
    generator = torch.Generator().manual_seed(0)

    def make() -> int:
        for _ in range(batches):
            view_set([canvas], generator)
        return batches * len(canvas) * len(view_set.sizes)

    return make


def photographs(count: int, size: int, device: str) -> Canvas:
    """A canvas of random square crops of two photographs."""
    generator, images = np.random.default_rng(0), load_sample_images().images
    pixels = []
    for i in range(count):
        photograph = images[i % 2]
        top, left = (generator.integers(side - size) for side in photograph.shape[:2])
        pixels.append(photograph[top : top + size, left : left + size].transpose(2, 0, 1))
    return full_canvas(torch.from_numpy(np.stack(pixels))).to(device)


class Transformed(Dataset):
    """The images of a canvas as PIL images, repeated up to `count`, with a transform of one image."""

    def __init__(self, canvas: Canvas, transform: Callable[[Image.Image], list[torch.Tensor]], count: int):
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in canvas.pixels.cpu()]
        self.transform, self.count = transform, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> list[torch.Tensor]:
        return self.transform(self.images[i % len(self.images)])
