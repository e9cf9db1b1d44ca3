"""Local standard deviation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from selfsight.precision import full_precision


@full_precision
def local_std(images: Tensor) -> Tensor:
    """Standard deviation over the 3 x 3 pixels around each one, `(B, C, H, W)` as the images.

    Images are reflected beyond their border; the root is that of the variance plus 1e-8.

    Kinakh et al.: MV-MR (2024).
    """
    # Deviations from the image's mean square to little, so that the difference below loses little.
    centred = F.pad(images - images.mean((2, 3), keepdim=True), (1, 1, 1, 1), mode="reflect")
    mean = F.avg_pool2d(centred, 3, stride=1)
    variance = F.avg_pool2d(centred.square(), 3, stride=1) - mean.square()
    return (variance.clamp(min=0) + 1e-8).sqrt()
