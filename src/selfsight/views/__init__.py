"""Views of images, made whole batches at a time on the images' device."""

from selfsight.data.sizes import Size
from selfsight.views import draws
from selfsight.views.augmentation import Augmentation
from selfsight.views.batch import Batch
from selfsight.views.colour import ColourJitter, Cutout, GaussianBlur, Grayscale, Noise, Solarize
from selfsight.views.effects import without_effect
from selfsight.views.geometry import Affine, CentreCrop, Flip, Geometry, Placement, RandomResizedCrop
from selfsight.views.masks import Blocks, Halves, MultiBlock, RandomPatches, complement
from selfsight.views.tiles import Tiles
from selfsight.views.view_sets import (
    View,
    ViewSet,
    jigsaw,
    multi_crop,
    original,
    patches,
    random_view,
    rotations,
    two_views,
)

__all__ = [
    "Affine",
    "Augmentation",
    "Batch",
    "Blocks",
    "CentreCrop",
    "ColourJitter",
    "Cutout",
    "Flip",
    "GaussianBlur",
    "Geometry",
    "Grayscale",
    "Halves",
    "MultiBlock",
    "Noise",
    "Placement",
    "RandomPatches",
    "RandomResizedCrop",
    "Size",
    "Solarize",
    "Tiles",
    "View",
    "ViewSet",
    "complement",
    "draws",
    "jigsaw",
    "multi_crop",
    "original",
    "patches",
    "random_view",
    "rotations",
    "two_views",
    "without_effect",
]
