"""Hand-crafted descriptions of images, computed for whole batches on their device."""

from selfsight.targets.hog import hog
from selfsight.targets.local_std import local_std
from selfsight.targets.scattering import Scattering

__all__ = ["Scattering", "hog", "local_std"]
